/** `openstack` and `cinder` on what surrounds volumes: quotas, limits, services, pools, messages, versions, states. */
import { anything, exactly, missing, none } from "./expectation.ts";
import { onCloud, type Row } from "./flow.ts";

// biome-ignore format: a row for each command.
const QUOTAS: readonly Row[] = [
  { run: "cinder quota-defaults {lab_project}", shows: { volumes: "10", gigabytes: "1000", snapshots: "10" } },
  { run: "cinder quota-show {lab_project}", shows: { volumes: "10", per_volume_gigabytes: "-1" } },
  { run: "cinder quota-update --volumes 2 --gigabytes 5 --snapshots 1 --per-volume-gigabytes 4 {lab_project}", shows: { volumes: "2", gigabytes: "5" } },
  { run: "cinder quota-show {lab_project}", as: "reader", shows: { volumes: "2", gigabytes: "5", snapshots: "1", per_volume_gigabytes: "4" } },
  { run: "openstack quota list --volume", shows: [{ "Project ID": "{lab_project}", Volumes: 2, Gigabytes: 5, Snapshots: 1 }] },
  { run: "cinder absolute-limits", as: "reader", shows: [{ Name: "maxTotalVolumes", Value: "2" }, { Name: "totalGigabytesUsed", Value: "0" }] },
  { run: "openstack volume create --size 1 one", as: "member", keep: { one: "id" } },
  { run: "openstack volume create --size 5 big", as: "member", error: /larger than maximum allowed limit 4G.*413/ },
  { run: "openstack volume create --size 2 two", as: "member", keep: { two: "id" } },
  { run: "openstack volume create --size 1 three", as: "member", error: /Maximum number of volumes allowed \(2\).*413/ },
  { run: "openstack volume show {one}", as: "member", until: { status: "available" } },
  { run: "openstack volume show {two}", as: "member", until: { status: "available" } },
  { run: "cinder extend {two} 5", as: "member", error: /larger than maximum allowed limit 4G.*413/ },
  { run: "openstack volume snapshot create --volume {one} s1", as: "member", keep: { s1: "id" } },
  { run: "openstack volume snapshot create --volume {one} s2", as: "member", error: /Maximum number of snapshots allowed \(1\).*413/ },
  { run: "cinder absolute-limits", as: "member", shows: [{ Name: "totalVolumesUsed", Value: "2" }, { Name: "totalGigabytesUsed", Value: "4" }, { Name: "totalSnapshotsUsed", Value: "1" }] },
  { run: "cinder quota-usage {lab_project}", shows: [{ Type: "volumes", In_use: "2", Limit: "2" }] },
  { run: "cinder quota-update --volumes 1 {lab_project}", error: /must be equal to or greater than already used quota 2.*400/ },
  { run: "openstack volume snapshot show {s1}", as: "member", until: { status: "available" } },
  { run: "openstack volume snapshot delete {s1}", as: "member" },
  { run: "openstack volume snapshot list", as: "member", until: exactly() },
  { run: "openstack volume delete {one} {two}", as: "member" },
  { run: "openstack volume list", as: "member", until: exactly() },
  { run: "cinder absolute-limits", as: "member", shows: [{ Name: "totalGigabytesUsed", Value: "0" }] },
  { run: "cinder quota-delete {lab_project}" },
  { run: "cinder quota-show {lab_project}", shows: { volumes: "10" } },
  { run: "cinder quota-class-show default", shows: { volumes: "10" } },
  { run: "cinder quota-update --volumes 5 {lab_project}", as: "member", error: /may not change quotas.*403/ },
  { run: "cinder quota-show {lab_project}", as: "stranger", error: /quotas of another project.*403/ },
  { run: "cinder quota-update --volumes -2 {lab_project}", error: /quota_set\.volumes must be >= -1.*400/ },
];

// biome-ignore format: a row for each command.
const SERVICES: readonly Row[] = [
  { run: "openstack availability zone list --volume", as: "reader", shows: exactly({ "Zone Name": "nova", "Zone Status": "available" }) },
  { run: "cinder availability-zone-list", as: "member", shows: exactly({ Name: "nova", Status: "available" }) },
  { run: "openstack volume service list", shows: [{ Binary: "cinder-volume", Zone: "nova", Status: "enabled", State: "up" }] },
  { run: "openstack volume service list --service cinder-volume --long", shows: [{ Binary: "cinder-volume", "Disabled Reason": null }] },
  { run: "openstack volume service list", as: "member", error: /role "admin".*403/ },
  { run: "cinder get-pools", shows: { name: /@local#local$/ } },
  { run: "cinder get-pools", as: "member", error: /role "admin".*403/ },
  { run: "cinder get-pools --detail", text: /free_capacity_gb[\s\S]*total_capacity_gb/ },
  { run: "cinder get-capabilities mica@local", text: /Mica/ },
  { run: "cinder get-capabilities nothing@nowhere", error: /no pool "nowhere".*404/ },
  { run: "openstack extension list --volume", shows: [{ Alias: "os-quota-sets" }] },
  { run: "cinder version-list", text: /3\.71/ },
  { run: "cinder api-version", text: /3\.\d+/ },
  { run: "cinder list-filters", volumeApi: "3.33", shows: [{ Resource: "volume" }] },
  { run: "openstack block storage resource filter list", volumeApi: "3.33", shows: [{ Resource: "volume", Filters: ["name", "status"] }] },
  { run: "cinder list-filters --resource snapshot", volumeApi: "3.33", shows: exactly({ Resource: "snapshot" }) },
  { run: "cinder rate-limits", text: /Verb/ },
];

// biome-ignore format: a row for each command.
const STATES: readonly Row[] = [
  { run: "openstack volume create --size 1 --property tier=gold subject", as: "stranger", keep: { subject: "id" } },
  { run: "openstack volume show subject", as: "stranger", until: { status: "available" } },
  { run: "cinder summary", as: "stranger", volumeApi: "3.36", shows: { total_count: "1", total_size: "1", metadata: /gold/ } },
  { run: "cinder reset-state --state in-use --attach-status attached {subject}" },
  { run: "openstack volume show subject", as: "stranger", shows: { status: "in-use" } },
  { run: "openstack volume delete subject", as: "stranger", error: /Invalid volume: Volume status must be available.*400/ },
  { run: "openstack image create --volume subject --disk-format raw --force torn", as: "stranger", error: /status must be available, but current status is: in-use.*400/ },
  { run: "openstack volume snapshot create --volume subject crash", as: "stranger", error: /status must be available, but current status is: in-use.*400/ },
  { run: "openstack volume snapshot create --volume subject --force crash", as: "stranger", keep: { crash: "id" } },
  { run: "openstack volume snapshot show {crash}", as: "stranger", until: { status: "available" } },
  { run: "openstack volume snapshot create --volume subject --force another", as: "stranger", volumeApi: "3.66", keep: { another: "id" } },
  { run: "openstack volume snapshot show {another}", as: "stranger", until: { status: "available" } },
  { run: "cinder extend {subject} 2", as: "stranger", volumeApi: "3.42" },
  { run: "openstack volume show subject", as: "stranger", until: { status: "in-use", size: 2 } },
  { run: "cinder extend {subject} 3", as: "stranger", volumeApi: "3.41", error: /status must be 'available' to extend, currently in-use.*400/ },
  { run: "cinder reset-state --state available --attach-status detached {subject}" },
  { run: "cinder reset-state --state available {subject}", as: "stranger", error: /Unable to reset the state/ },
  { run: "cinder readonly-mode-update {subject} true", as: "stranger" },
  { run: "cinder set-bootable {subject} true", as: "stranger" },
  { run: "cinder rename {subject} titled", as: "stranger" },
  { run: "cinder metadata {subject} set a=b c=d", as: "stranger" },
  { run: "cinder metadata {subject} unset a", as: "stranger" },
  { run: "cinder metadata-update-all {subject} e=f", as: "stranger", shows: { e: "f", c: missing } },
  { run: "cinder image-metadata {subject} set os_type=linux", as: "stranger" },
  { run: "cinder image-metadata-show {subject}", as: "stranger", shows: { os_type: "linux" } },
  { run: "cinder list --image_metadata os_type=linux", as: "stranger", volumeApi: "3.4", shows: exactly({ ID: "{subject}" }) },
  { run: "cinder show {subject}", as: "stranger", volumeApi: "3.65", shows: { name: "titled", bootable: "true", consumes_quota: "True", volume_type_id: anything } },
  { run: "cinder list --with-count", as: "stranger", volumeApi: "3.45", text: /Volume in total: 1|1/ },
  { run: "cinder delete --cascade {subject}", as: "stranger", volumeApi: "3.70" },
  { run: "openstack volume list", as: "stranger", until: exactly() },
  { run: "openstack volume snapshot list", as: "stranger", shows: exactly() },
  { run: "openstack volume create --size 1 stuck", as: "stranger", keep: { stuck: "id" } },
  { run: "openstack volume show stuck", as: "stranger", until: { status: "available" } },
  { run: "openstack volume set --state maintenance {stuck}" },
  { run: "openstack volume delete {stuck}", error: /Volume status must be available.*400/ },
  { run: "openstack volume delete --force {stuck}", as: "stranger", error: /role "admin".*403/ },
  { run: "openstack volume delete --force {stuck}" },
  { run: "openstack volume list", as: "stranger", until: exactly() },
];

// biome-ignore format: a row for each command.
const MESSAGES: readonly Row[] = [
  { run: "openstack volume message list", as: "reader", volumeApi: "3.3", shows: exactly() },
  { run: "openstack volume type create --property volume_backend_name=nowhere lost" },
  { run: "openstack volume create --type lost --size 1 no", as: "reader", error: /role "member".*403/ },
  { run: "openstack volume create --type lost --size 1 no", as: "stranger", error: /No pool fits volume type.*400/ },
  { run: "openstack volume type delete lost" },
  { run: "cinder quota-update --gigabytes -1 {elsewhere_project}" },
  { run: "openstack volume create --size 65000 huge", as: "stranger", error: /No pool has room.*507/ },
  { run: "openstack volume message list", as: "reader", volumeApi: "3.3", shows: exactly() },
  { run: "openstack volume message show 11111111-2222-4333-8444-555555555555", volumeApi: "3.70", error: /could not be found.*404/ },
];

/** The newest of the stock client, the oldest, and between. */
const VERSIONS: readonly Row[] = ["3.0", "3.12", "3.27", "3.50", "3.63", "3.70"].flatMap((volumeApi): Row[] => [
  { run: "cinder create --name v{n} 1".replace("{n}", volumeApi.slice(2)), volumeApi, shows: { size: "1" }, keep: { id: "id" } },
  { run: "openstack volume show {id}", volumeApi, until: { status: "available" } },
  { run: "openstack volume list --long", volumeApi, shows: [{ ID: "{id}" }] },
  { run: "openstack volume delete {id}", volumeApi },
  { run: "openstack volume list", volumeApi, until: none({ ID: "{id}" }) },
]);
// biome-ignore format: a row for each command.
const UNKNOWN_VERSIONS: readonly Row[] = [
  { run: "openstack volume list", volumeApi: "3.999", error: /versions supported by client: 3\.0 - 3\.70/ },
  { run: "cinder list", volumeApi: "2.0", error: /Major part should be '3'/ },
];

onCloud("openstack, cinder and what surrounds volumes", {
  quotas: QUOTAS,
  "services and pools": SERVICES,
  states: STATES,
  messages: MESSAGES,
  "old and new microversions": [...VERSIONS, ...UNKNOWN_VERSIONS],
});
