/** `openstack` and `nova` on what surrounds servers: https://docs.openstack.org/python-openstackclient/6.0.0/cli/command-objects/flavor.html and its neighbours. */
import { count, exactly, missing, none } from "./expectation.ts";
import { onCloud, type Row } from "./flow.ts";

// biome-ignore format: a row for each command.
const FLAVORS: readonly Row[] = [
  { run: "openstack flavor list", as: "reader", shows: [{ ID: "1", Name: "m1.tiny", RAM: 512, Disk: 1, VCPUs: 1, "Is Public": true }, { Name: "m1.nano", RAM: 192 }] },
  { run: "openstack flavor create --id 77 --ram 256 --disk 2 --vcpus 2 --ephemeral 1 --swap 64 --property hw:cpu_policy=shared fit", shows: { id: "77", name: "fit", ram: 256, disk: 2, vcpus: 2, swap: 64, "OS-FLV-EXT-DATA:ephemeral": 1, properties: { "hw:cpu_policy": "shared" } } },
  { run: "openstack flavor create --ram 256 --disk 2 --vcpus 2 fit", error: /409.*Flavor with name fit already exists/ },
  { run: "openstack flavor create --id auto --ram 64 --disk 0 --vcpus 1 --description Small small", computeApi: "2.55", shows: { description: "Small" }, keep: { small: "id" } },
  { run: "openstack flavor set --description Smaller small", computeApi: "2.55" },
  { run: "openstack flavor show small", computeApi: "2.61", shows: { id: "{small}", description: "Smaller" } },
  { run: "openstack flavor set --property quota:disk_read_iops_sec=100 --property hw:cpu_policy=dedicated fit" },
  { run: "openstack flavor unset --property hw:cpu_policy fit" },
  { run: "openstack flavor show fit", as: "member", shows: { properties: { "quota:disk_read_iops_sec": "100", "hw:cpu_policy": missing } } },
  { run: "openstack flavor create --private --project lab --ram 128 --disk 1 --vcpus 1 secret", shows: { "os-flavor-access:is_public": false }, keep: { secret: "id" } },
  { run: "openstack flavor show secret", shows: { access_project_ids: exactly("{lab_project}") } },
  { run: "openstack flavor show {secret}", as: "member", shows: { name: "secret" } },
  { run: "openstack flavor show {secret}", as: "stranger", error: /No Flavor found for/ },
  { run: "openstack flavor set --project elsewhere secret" },
  { run: "nova flavor-access-list --flavor {secret}", shows: count(2) },
  { run: "openstack flavor unset --project elsewhere secret" },
  { run: "openstack flavor list --private", shows: exactly({ ID: "{secret}" }) },
  { run: "openstack flavor list --min-ram 8192", shows: exactly({ Name: "m1.large" }, { Name: "m1.xlarge" }) },
  { run: "openstack flavor list --all --long --limit 3", shows: count(3) },
  { run: "nova flavor-list --extra-specs", shows: [{ Name: "fit", extra_specs: /disk_read_iops/ }] },
  { run: "nova flavor-show fit", as: "reader", shows: { ram: "256", swap: "64" } },
  { run: "openstack flavor create --ram 64 --disk 1 --vcpus 1 no", as: "member", error: /403.*role "admin"/ },
  { run: "openstack flavor delete fit", as: "member", error: /1 of 1 flavors failed/ },
  { run: "openstack flavor delete fit small secret" },
  { run: "openstack flavor list --all", shows: none({ Name: "fit" }) },
];

const PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3Hg5qHWQI5rPolzOHSw5Pw2MbK3D7XAzIuVhxNhayg ada@lab";

// biome-ignore format: a row for each command.
const KEYPAIRS: readonly Row[] = [
  { run: "openstack keypair create made", as: "member", text: /BEGIN RSA PRIVATE KEY/ },
  { run: "openstack keypair create made", as: "member", error: /409.*Key pair 'made' already exists/ },
  { run: "openstack keypair show made", as: "member", shows: { name: "made", fingerprint: /^([0-9a-f]{2}:){15}[0-9a-f]{2}$/ } },
  { run: "openstack keypair show --public-key made", as: "member", text: /^ssh-rsa / },
  { run: "openstack keypair create --public-key key.pub ada", as: "member", shows: { name: "ada", fingerprint: "c0:27:c6:f2:24:44:fe:65:b5:c7:06:97:18:78:c4:c4" } },
  { run: "openstack keypair create --type ssh --public-key key.pub typed", as: "member", computeApi: "2.2", shows: { type: "ssh" } },
  { run: "openstack keypair create --public-key disk.raw bad", as: "member", exit: 1, error: /./ },
  { run: "openstack keypair list", as: "member", shows: exactly({ Name: "ada" }, { Name: "made" }, { Name: "typed" }) },
  { run: "openstack keypair list", as: "stranger", shows: exactly() },
  { run: "openstack keypair list --user {member_user}", computeApi: "2.10", shows: count(3) },
  { run: "openstack keypair list --user {member_user}", as: "stranger", computeApi: "2.10", error: /403.*key pairs of another user/ },
  { run: "nova keypair-list", as: "member", computeApi: "2.1", shows: count(3) },
  { run: "nova keypair-show ada", as: "member", computeApi: "2.1", text: /ssh-ed25519/ },
  { run: "nova keypair-delete ada", as: "member" },
  { run: "openstack keypair delete made typed", as: "member" },
  { run: "openstack keypair show made", as: "member", error: /No Keypair found for made/ },
];

// biome-ignore format: a row for each command.
const QUOTAS: readonly Row[] = [
  { run: "openstack limits show --absolute", as: "reader", shows: [{ Name: "maxTotalInstances", Value: 10 }, { Name: "totalCoresUsed", Value: 0 }, { Name: "maxTotalVolumes", Value: 10 }] },
  { run: "openstack limits show --rate", as: "reader", shows: exactly() },
  { run: "nova limits", as: "member", text: /Cores/ },
  { run: "nova quota-show --tenant {lab_project}", as: "member", shows: [{ Quota: "instances", Limit: "10" }, { Quota: "ram", Limit: "51200" }] },
  { run: "nova quota-defaults", shows: [{ Quota: "key_pairs", Limit: "100" }] },
  { run: "nova quota-update --cores 7 --ram -1 {lab_project}" },
  { run: "nova quota-show --detail --tenant {lab_project}", text: /'limit': 7/ },
  { run: "openstack quota list --compute", shows: [{ "Project ID": "{lab_project}", Cores: 7, Ram: -1 }] },
  { run: "nova quota-update --cores 8 {lab_project}", as: "member", error: /may not change quotas.*403/ },
  { run: "nova quota-delete --tenant {lab_project}" },
  { run: "nova quota-show --tenant {lab_project}", shows: [{ Quota: "cores", Limit: "20" }] },
  { run: "nova quota-class-update default --instances 11" },
  { run: "nova quota-class-show default", shows: [{ Quota: "instances", Limit: "11" }] },
  { run: "nova quota-class-update default --instances 10" },
];

// biome-ignore format: a row for each command.
const HOSTS: readonly Row[] = [
  { run: "openstack availability zone list --compute", as: "reader", shows: exactly({ "Zone Name": "nova", "Zone Status": "available" }) },
  { run: "openstack compute service list", shows: exactly({ Binary: "nova-compute", Zone: "nova", Status: "enabled", State: "up" }) },
  { run: "openstack compute service list", as: "member", error: /403.*role "admin"/ },
  { run: "openstack hypervisor list", shows: exactly({ State: "up" }) },
  { run: "openstack hypervisor stats show", computeApi: "2.1", shows: { count: 1, running_vms: 0 } },
  { run: "nova hypervisor-list", computeApi: "2.1", shows: [{ State: "up", Status: "enabled" }] },
  { run: "openstack host list", computeApi: "2.1", error: /404/ },
  { run: "openstack aggregate create --zone east --property ssd=true fast", shows: { name: "fast", availability_zone: "east" }, keep: { fast: "id" } },
  { run: "openstack aggregate show fast", shows: { properties: { ssd: "true" }, hosts: exactly() } },
  { run: "openstack aggregate set --name faster --zone west fast" },
  { run: "openstack aggregate unset --property ssd faster" },
  { run: "openstack aggregate list --long", shows: [{ Name: "faster", "Availability Zone": "west" }] },
  { run: "openstack aggregate add host faster nowhere", error: /404.*Compute host nowhere could not be found/ },
  { run: "openstack aggregate delete faster" },
  { run: "openstack aggregate list", shows: exactly() },
  { run: "openstack extension list --compute", shows: [{ Alias: "os-keypairs" }] },
  { run: "openstack versions show --service compute", shows: [{ "Service Type": "compute", "Max Microversion": "2.104" }] },
];

onCloud(
  "openstack, nova and what surrounds servers",
  { flavors: FLAVORS, keypairs: KEYPAIRS, quotas: QUOTAS, hosts: HOSTS },
  { files: { "key.pub": PUBLIC_KEY } },
);
