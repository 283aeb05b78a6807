/**
 * `openstack` and `nova` on servers, on the twin of a hypervisor: what the clients ask for and understand. Real guests are in test/real.
 * https://docs.openstack.org/python-openstackclient/6.0.0/cli/command-objects/server.html
 */
import { all, anything, count, exactly, missing, none } from "./expectation.ts";
import { onCloud, type Row } from "./flow.ts";

const PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3Hg5qHWQI5rPolzOHSw5Pw2MbK3D7XAzIuVhxNhayg ada@lab";
/** A row that waits until the server has the status. */
const until = (server: string, status: string): Row => ({ run: `openstack server show ${server}`, as: "member", until: { status } });
const gone = (server: string): Row => ({ run: "openstack server list", as: "member", until: none({ ID: server }) });
const IMAGE: Row = { run: "openstack image create --disk-format qcow2 --file disk.qcow2 --property os_distro=debian boot", as: "member", keep: { boot: "id" } };

// biome-ignore format: a row for each command.
const LIFE: readonly Row[] = [
  IMAGE,
  { run: "openstack keypair create --public-key key.pub ada", as: "member" },
  { run: "openstack server create --image boot --flavor m1.nano --key-name ada --property room=12 --user-data hello.sh --config-drive True --nic none one", as: "member", computeApi: "2.37", shows: { name: "one", status: "BUILD" }, keep: { one: "id" } },
  until("one", "ACTIVE"),
  { run: "openstack server show one", as: "member", shows: { id: "{one}", image: /boot/, flavor: /m1\.nano/, key_name: "ada", properties: { room: "12" }, addresses: {}, config_drive: "True", "OS-EXT-STS:power_state": 1, "OS-EXT-STS:vm_state": "active", "OS-EXT-SRV-ATTR:host": missing } },
  { run: "openstack server show one", as: "stranger", error: /No [Ss]erver/ },
  { run: "openstack server show {one}", shows: { "OS-EXT-SRV-ATTR:host": anything, "OS-EXT-SRV-ATTR:root_device_name": missing } },
  { run: "openstack server list", as: "reader", shows: exactly({ ID: "{one}", Name: "one", Status: "ACTIVE" }) },
  { run: "openstack server list --long", as: "member", shows: exactly({ "Power State": 1, "Image Name": "boot", "Flavor Name": "m1.nano" }) },
  { run: "openstack server list --all-projects --name one", shows: exactly({ ID: "{one}" }) },
  { run: "openstack server list --all-projects", as: "stranger", error: /role "admin"/ },
  { run: "openstack server list --status SHUTOFF", as: "member", shows: exactly() },
  { run: "openstack server stop one", as: "member" },
  until("one", "SHUTOFF"),
  { run: "openstack server stop one", as: "member", error: /409.*Cannot 'os-stop'|Cannot 'os-stop'.*409/ },
  { run: "openstack server start one", as: "member" },
  until("one", "ACTIVE"),
  { run: "openstack server reboot --hard one", as: "member" },
  until("one", "ACTIVE"),
  { run: "openstack server pause one", as: "member" },
  until("one", "PAUSED"),
  { run: "openstack server unpause one", as: "member" },
  until("one", "ACTIVE"),
  { run: "openstack server suspend one", as: "member" },
  until("one", "SUSPENDED"),
  { run: "openstack server resume one", as: "member" },
  until("one", "ACTIVE"),
  { run: "openstack server resize --flavor m1.tiny one", as: "member" },
  until("one", "VERIFY_RESIZE"),
  { run: "openstack server resize confirm one", as: "member" },
  until("one", "ACTIVE"),
  { run: "openstack server resize --flavor m1.nano one", as: "member" },
  until("one", "VERIFY_RESIZE"),
  { run: "openstack server resize revert one", as: "member" },
  { run: "openstack server show one", as: "member", until: { status: "ACTIVE", flavor: /m1\.tiny/ } },
  { run: "openstack server rescue one", as: "member" },
  until("one", "RESCUE"),
  { run: "openstack server unrescue one", as: "member" },
  until("one", "ACTIVE"),
  { run: "openstack server shelve one", as: "member" },
  until("one", "SHELVED_OFFLOADED"),
  { run: "openstack server unshelve one", as: "member" },
  until("one", "ACTIVE"),
  { run: "openstack server rebuild --image boot one", as: "member", shows: { id: "{one}" } },
  until("one", "ACTIVE"),
  { run: "openstack server lock --reason mine one", as: "member", computeApi: "2.73" },
  { run: "openstack server stop one", as: "member", error: /is locked/ },
  { run: "openstack server unlock one", as: "member" },
  { run: "openstack server set --name two --property floor=3 one", as: "member" },
  { run: "openstack server unset --property room two", as: "member" },
  { run: "openstack server set --description Second --tag blue two", as: "member", computeApi: "2.26" },
  { run: "openstack server show two", as: "member", computeApi: "2.26", shows: { description: "Second", tags: ["blue"], properties: { floor: "3", room: missing } } },
  { run: "openstack server list --tags blue", as: "member", computeApi: "2.26", shows: exactly({ ID: "{one}" }) },
  { run: "openstack console log show two", as: "member" },
  { run: "openstack server event list two", as: "member", shows: [{ Action: "create" }, { Action: "stop" }] },
  { run: "nova list", as: "member", shows: exactly({ ID: "{one}", Status: "ACTIVE" }) },
  { run: "nova show two", as: "member", text: /flavor:original_name/ },
  { run: "nova instance-action-list two", as: "member", text: /reboot/ },
  { run: "nova diagnostics {one}", text: /num_cpus/ },
  { run: "openstack limits show --absolute", as: "member", shows: [{ Name: "totalInstancesUsed", Value: 1 }] },
  { run: "openstack hypervisor stats show", computeApi: "2.1", shows: { count: 1, running_vms: anything } },
  { run: "openstack server delete two", as: "reader", error: /role "member"|1 of 1/ },
  { run: "openstack server delete two", as: "member" },
  gone("{one}"),
];

// biome-ignore format: a row for each command.
const VOLUMES: readonly Row[] = [
  { run: "openstack image create --disk-format qcow2 --file disk.qcow2 root", as: "stranger", keep: { root: "id" } },
  { run: "openstack server create --image root --boot-from-volume 1 --flavor m1.nano --network none --wait booted", as: "stranger", computeApi: "2.37", shows: { status: "ACTIVE", image: /N\/A|^$/ }, keep: { booted: "id" } },
  { run: "openstack server list", as: "stranger", shows: exactly({ Name: "booted" }) },
  { run: "openstack volume create --size 1 data", as: "stranger", keep: { data: "id" } },
  { run: "openstack volume show data", as: "stranger", until: { status: "available" } },
  { run: "openstack server add volume booted data", as: "stranger", shows: { "Volume ID": "{data}", Device: "/dev/vdb" } },
  { run: "openstack volume show data", as: "stranger", until: { status: "in-use" } },
  { run: "openstack server volume list booted", as: "stranger", shows: all(count(2), [{ "Volume ID": "{data}", Device: "/dev/vdb" }]) },
  { run: "nova volume-attachments booted", as: "stranger", shows: count(2) },
  { run: "openstack server remove volume booted data", as: "stranger" },
  { run: "openstack volume show data", as: "stranger", until: { status: "available" } },
  { run: "openstack server create --volume data --flavor m1.nano --network none no", as: "stranger", computeApi: "2.37", error: /is not bootable/ },
  { run: "nova boot --flavor m1.nano --nic none --block-device source=image,id={root},dest=volume,size=1,shutdown=remove,bootindex=0 --min-count 2 pair", as: "stranger", text: /pair-1/ },
  { run: "openstack server list --name pair", as: "stranger", until: exactly({ Status: "ACTIVE" }, { Status: "ACTIVE" }) },
  { run: "openstack server delete --wait pair-1 pair-2 booted", as: "stranger" },
  { run: "openstack volume list", as: "stranger", until: count(2) },
];

// biome-ignore format: a row for each command.
const PLACES: readonly Row[] = [
  { run: "openstack image create --disk-format qcow2 --file disk.qcow2 ground", as: "stranger", keep: { ground: "id" } },
  { run: "openstack server group create --policy anti-affinity apart", as: "stranger", computeApi: "2.15", shows: { name: "apart", policies: /anti-affinity/ }, keep: { apart: "id" } },
  { run: "openstack server group create --policy anti-affinity --rule max_server_per_host=2 pairs", as: "stranger", computeApi: "2.64", shows: { name: "pairs", policy: "anti-affinity" } },
  { run: "openstack server group list", as: "stranger", computeApi: "2.64", shows: all(count(2), [{ ID: "{apart}", Name: "apart", Policy: "anti-affinity" }]) },
  { run: "openstack server create --image ground --flavor m1.nano --nic none --hint group={apart} first", as: "stranger", computeApi: "2.71", shows: { status: "BUILD" }, keep: { first: "id" } },
  { run: "openstack server group show apart", as: "stranger", computeApi: "2.64", shows: { members: ["{first}"] } },
  { run: "nova boot --image ground --flavor m1.nano --nic none --hint group={apart} second", as: "stranger", error: /No valid host was found.*anti-affinity/ },
  { run: "openstack server create --image ground --flavor m1.nano --nic none --hint different_host={first} second", as: "stranger", computeApi: "2.37", error: /No valid host was found/ },
  { run: "openstack server create --image ground --flavor m1.nano --nic none --hint query=[] second", as: "stranger", computeApi: "2.37", error: /"query" is not offered/ },
  { run: "openstack server create --image ground --flavor m1.nano --network lan second", as: "stranger", computeApi: "2.37", error: /lan not found/ },
  { run: "nova boot --image ground --flavor m1.nano --nic net-id=7f00c5b2-0d3b-4b5c-9d05-c3a5f3f0a001 second", as: "stranger", error: /Networks by id, port or address are not offered here/ },
  // Its volume goes with it: other flows of this project count theirs.
  { run: "nova boot --flavor m1.nano --nic none --block-device source=image,id={ground},dest=volume,size=1,shutdown=remove,bootindex=0 --hint same_host={first} third", as: "stranger", text: /third/ },
  { run: "openstack server delete first third", as: "stranger" },
  { run: "openstack server group delete apart pairs", as: "stranger", computeApi: "2.64" },
  { run: "openstack server group list", as: "stranger", computeApi: "2.64", shows: exactly() },
];

// biome-ignore format: a row for each command.
const IMAGES: readonly Row[] = [
  { run: "openstack image create --disk-format qcow2 --file disk.qcow2 plain", keep: { plain: "id" } },
  { run: "openstack server create --image plain --flavor m1.nano --nic none --wait web", computeApi: "2.37", shows: { status: "ACTIVE" }, keep: { web: "id" } },
  { run: "openstack server image create --name copied --property room=12 --wait web" },
  { run: "openstack image show copied", shows: { status: "active", visibility: "private", properties: { image_type: "snapshot", instance_uuid: "{web}", base_image_ref: "{plain}", room: "12", mica_capture_method: "backup_job", mica_consistency: "crash" } }, keep: { copied: "id" } },
  { run: "nova image-create --poll web polled", text: /Finished/ },
  { run: "openstack image show polled", shows: { status: "active", properties: { image_state: "available" } } },
  { run: "openstack server backup create --name first --type daily --rotate 1 --wait web" },
  { run: "openstack image show first", shows: { status: "active", properties: { image_type: "backup", backup_type: "daily" } } },
  { run: "nova backup web second daily 1" },
  { run: "openstack image show second", until: { status: "active" } },
  { run: "openstack image list --property backup_type=daily", until: exactly({ Name: "second" }) },
  { run: "openstack server show web", until: { status: "ACTIVE", "OS-EXT-STS:task_state": null } },
  { run: "openstack server create --image copied --flavor m1.nano --nic none --wait again", computeApi: "2.37", shows: { status: "ACTIVE" } },
  { run: "openstack server event list web", shows: [{ Action: "create" }] },
  { run: "openstack volume create --size 1 extra", keep: { extra: "id" } },
  { run: "openstack volume show extra", until: { status: "available" } },
  { run: "openstack server add volume web extra" },
  { run: "openstack volume show extra", until: { status: "in-use" } },
  { run: "openstack image create --volume extra --disk-format qcow2 torn", error: /must be available/ },
  { run: "openstack image create --volume extra --force --disk-format qcow2 uploaded", shows: { image_name: "uploaded", status: "uploading" } },
  { run: "openstack image show uploaded", until: { status: "active", properties: { mica_capture_method: "backup_job" } } },
  { run: "openstack volume show extra", until: { status: "in-use" } },
  { run: "openstack server create --image plain --boot-from-volume 1 --flavor m1.nano --nic none --wait rooted", computeApi: "2.37", shows: { status: "ACTIVE" } },
  { run: "openstack server image create --name mapped --wait rooted" },
  { run: "openstack image show mapped", shows: { status: "active", size: 0, properties: { root_device_name: "/dev/vda", block_device_mapping: anything } } },
  { run: "openstack volume snapshot list", shows: exactly({ Name: "snapshot for mapped", Status: "available" }) },
  { run: "openstack server backup create --name no --type daily --rotate 1 rooted", error: /Backup is not supported for volume-backed instances/ },
  { run: "openstack server create --image mapped --flavor m1.nano --nic none --wait rerooted", computeApi: "2.37", shows: { status: "ACTIVE", image: /N\/A|^$/ } },
  { run: "openstack server delete --wait rerooted rooted again web" },
  { run: "openstack image delete mapped" },
  { run: "openstack volume snapshot list", until: exactly() },
  { run: "openstack image delete copied polled second uploaded plain" },
];

onCloud(
  "openstack, nova and servers",
  { "a life": LIFE, volumes: VOLUMES, places: PLACES, images: IMAGES },
  { env: { MICA_ENABLE_FORCE_UPLOAD: "true" }, files: { "key.pub": PUBLIC_KEY, "hello.sh": "#!/bin/sh\necho hello\n" } },
);
