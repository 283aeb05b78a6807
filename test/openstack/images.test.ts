/** `openstack` and `glance` against Image v2: https://docs.openstack.org/python-openstackclient/6.0.0/cli/command-objects/image-v2.html */
import { all, count, exactly, missing, none } from "./expectation.ts";
import { sameBytes, sameDisk } from "./files.ts";
import { onCloud, type Row } from "./flow.ts";

const MD5 = /^[0-9a-f]{32}$/;
const SHA512 = /^[0-9a-f]{128}$/;

/** The client shows the record as it was before the upload. */
// biome-ignore format: a row for each command.
const UPLOAD_AND_SAVE: readonly Row[] = [
  {
    run: "openstack image create --disk-format raw --container-format bare --file disk.raw --min-disk 1 --min-ram 512 --property os_distro=debian --property hw_disk_bus=virtio --tag blue --tag round whole",
    shows: { name: "whole", status: "queued", min_disk: 1, min_ram: 512, visibility: "shared", protected: false, tags: ["blue", "round"] },
    keep: { raw: "id" },
  },
  {
    run: "openstack image show whole",
    shows: {
      id: "{raw}",
      status: "active",
      disk_format: "raw",
      container_format: "bare",
      size: 25165824,
      virtual_size: 25165824,
      checksum: MD5,
      properties: { os_distro: "debian", hw_disk_bus: "virtio", os_hidden: false, os_hash_algo: "sha512", os_hash_value: SHA512 },
      file: "/v2/images/{raw}/file",
      schema: "/v2/schemas/image",
    },
    keep: { sum: "checksum" },
  },
  { run: "openstack image save --file saved.raw whole", afterwards: sameBytes("saved.raw", "disk.raw") },
  { run: "glance image-download --file downloaded.raw {raw}", afterwards: sameBytes("downloaded.raw", "disk.raw") },
  { run: "openstack image show --human-readable {raw}", shows: { size: /24.*M|25.*M/ } },
  { run: "openstack image create --disk-format qcow2 --container-format bare --file disk.qcow2 --private --protected packed", keep: { packed: "id" } },
  { run: "openstack image show packed", shows: { status: "active", disk_format: "qcow2", virtual_size: 25165824, visibility: "private", protected: true } },
  { run: "openstack image save --file saved.qcow2 packed", afterwards: sameBytes("saved.qcow2", "disk.qcow2") },
  { run: "openstack image create --disk-format qcow2 --progress --file disk.qcow2 slowly" },
  { run: "openstack image show slowly", shows: { status: "active", checksum: MD5 } },
  { run: "openstack image create --disk-format raw queued", shows: { status: "queued", size: missing }, keep: { queued: "id" } },
  { run: "openstack image save --file nothing.raw {queued}", exit: 0 },
  { run: "glance image-upload --file disk.raw {queued}" },
  { run: "openstack image show {queued}", shows: { status: "active", checksum: "{sum}" } },
  { run: "glance image-upload --file disk.raw {queued}", error: /409.*is active: it cannot become saving/ },
  { run: "openstack image create --id 11111111-2222-4333-8444-555555555555 chosen", shows: { id: "11111111-2222-4333-8444-555555555555", status: "queued" } },
  { run: "openstack image create --id 11111111-2222-4333-8444-555555555555 again", error: /409.*already exists/ },
  { run: "openstack image create --id short again", error: /400.*id must match pattern/ },
  { run: "openstack image delete packed", error: /403.*is protected and cannot be deleted/ },
  { run: "openstack image set --unprotected packed" },
  { run: "openstack image delete packed whole slowly chosen {queued}" },
  { run: "openstack image show {packed}", error: /No Image found for/ },
  { run: "openstack image list", shows: none({ ID: "{raw}" }) },
  { run: "openstack image delete nothing", error: /Failed to delete image with name or ID 'nothing'/ },
];

// biome-ignore format: a row for each command.
const CHANGES: readonly Row[] = [
  { run: "openstack image create --disk-format raw --property a=1 --property b=2 --tag old draft", shows: { status: "queued" }, keep: { id: "id" } },
  { run: "openstack image set --name final --min-disk 3 --min-ram 64 --container-format ovf --disk-format vmdk --tag new --property a=3 --property c=4 --architecture x86_64 --os-version 12 --hidden draft" },
  {
    run: "openstack image show {id}",
    shows: {
      name: "final",
      min_disk: 3,
      min_ram: 64,
      container_format: "ovf",
      disk_format: "vmdk",
      tags: ["old", "new"],
      properties: { a: "3", b: "2", c: "4", architecture: "x86_64", os_version: "12", os_hidden: true },
    },
  },
  { run: "openstack image unset --tag old --property a --property b final" },
  { run: "openstack image show {id}", shows: { tags: exactly("new"), properties: { c: "4", a: missing, b: missing } } },
  { run: "openstack image unset --property never {id}", exit: 1, error: /Failed to unset 1 of 1 properties/ },
  { run: "openstack image list --hidden", shows: exactly({ ID: "{id}" }) },
  { run: "openstack image list", shows: none({ ID: "{id}" }) },
  { run: "openstack image set --unhidden {id}" },
  { run: "openstack image set --project lab {id}" },
  { run: "openstack image show final", shows: { owner: "{lab_project}" } },
  { run: "openstack image set --public final" },
  { run: "openstack image show final", as: "stranger", shows: { visibility: "public" } },
  { run: "openstack image set --community final" },
  { run: "openstack image list", as: "stranger", shows: none({ ID: "{id}" }) },
  { run: "openstack image list --community", as: "stranger", shows: [{ ID: "{id}" }] },
  { run: "openstack image set --private {id}" },
  { run: "openstack image show {id}", as: "stranger", error: /No Image found/ },
  { run: "openstack image set --property status=active {id}", error: /403.*Attribute 'status' is read-only/ },
  { run: "openstack image set --property owner=me {id}", as: "member", error: /403.*Owner can't be updated by non admin/ },
  { run: "glance image-update --name renamed --property d=5 --remove-property c {id}", shows: { name: "renamed", d: "5" } },
  { run: "glance image-show {id}", shows: { name: "renamed", d: "5", tags: '["new"]' } },
  { run: "glance image-tag-update {id} extra", shows: exactly({ ID: "{id}", Tags: "['extra', 'new']" }) },
  { run: "glance image-tag-delete {id} extra" },
  { run: "glance image-tag-delete {id} extra", error: /404.*Tag extra/ },
  { run: "glance image-delete {id}" },
  { run: "glance image-show {id}", error: /404.*No image found with ID/ },
];

// biome-ignore format: a row for each command.
const LISTS: readonly Row[] = [
  { run: "openstack image create --disk-format raw --file disk.raw --tag list --tag even --property shape=disk l1", as: "member", keep: { l1: "id" } },
  { run: "openstack image create --disk-format qcow2 --file disk.qcow2 --tag list --private l2", as: "member", keep: { l2: "id" } },
  { run: "openstack image create --disk-format qcow2 --tag list --tag even --community --property shape=cube l3", as: "member", keep: { l3: "id" } },
  { run: "openstack image list --tag list", as: "reader", shows: exactly({ ID: "{l1}", Status: "active" }, { ID: "{l2}" }, { ID: "{l3}", Status: "queued" }) },
  { run: "openstack image list --tag list --tag even", as: "member", shows: exactly({ Name: "l1" }, { Name: "l3" }) },
  { run: "openstack image list --tag list --long", as: "member", shows: [{ Name: "l1", Size: 25165824, Checksum: MD5, Visibility: "shared", Protected: false, Project: "{lab_project}", Tags: ["even", "list"] }] },
  { run: "openstack image list --tag list --private", as: "member", shows: exactly({ Name: "l2" }) },
  { run: "openstack image list --tag list --shared", as: "member", shows: exactly({ Name: "l1" }) },
  { run: "openstack image list --tag list --community", as: "stranger", shows: exactly({ Name: "l3" }) },
  { run: "openstack image list --tag list --public", as: "member", shows: exactly() },
  { run: "openstack image list --tag list --all", as: "stranger", shows: exactly({ Name: "l3" }) },
  { run: "openstack image list --tag list --name l2", as: "member", shows: exactly({ ID: "{l2}" }) },
  { run: "openstack image list --tag list --status queued", as: "member", shows: exactly({ ID: "{l3}" }) },
  { run: "openstack image list --tag list --property shape=disk", as: "member", shows: exactly({ ID: "{l1}" }) },
  { run: "openstack image list --tag list --project lab --sort name:desc", shows: exactly({ Name: "l2" }, { Name: "l1" }) }, // Community images of others must be asked for.,
  { run: "openstack image list --tag list --limit 2", as: "member", shows: count(2) },
  { run: "openstack image list --tag list --limit 2 --marker l3", as: "member", shows: exactly({ Name: "l1" }, { Name: "l2" }) }, // The newest first, then sorted.
  { run: "openstack image list --tag list --page-size 1", as: "member", shows: count(3) },
  { run: "openstack image list --tag list", as: "stranger", shows: exactly() },
  { run: "glance image-list --tag list --sort size:asc --page-size 1", as: "member", shows: all(count(3), [{ Name: "l2" }]) },
  { run: "glance image-list --tag list --sort-key name --sort-dir desc --limit 1", as: "member", shows: exactly({ ID: "{l3}" }) },
  { run: "glance image-list --property-filter shape=cube --visibility community", as: "member", shows: exactly({ ID: "{l3}" }) },
  { run: "glance image-list --property-filter name=in:l1,l2 --tag list", as: "member", shows: count(2) },
  { run: "glance image-list --property-filter size_min=25165824 --tag list", as: "member", shows: exactly({ ID: "{l1}" }) },
  { run: "glance image-list --property-filter created_at=lt:2001-01-01T00:00:00Z", as: "member", shows: exactly() },
  { run: "glance image-list --owner {elsewhere_project} --tag list", as: "member", shows: exactly() },
  { run: "glance image-list --property-filter size_min=many", as: "member", error: /400.*non-numeric value: size_min=many/ },
  { run: "glance image-list --property-filter protected=perhaps", as: "member", error: /400.*'true' or 'false'/ },
  { run: "openstack image delete l1 l2 l3", as: "member" },
];

// biome-ignore format: a row for each command.
const MEMBERS: readonly Row[] = [
  { run: "openstack image create --disk-format raw --file disk.raw --shared common", as: "member", keep: { common: "id" } },
  { run: "openstack image show {common}", as: "stranger", error: /No Image found/ },
  { run: "openstack image add project {common} {elsewhere_project}", as: "member", shows: { image_id: "{common}", member_id: "{elsewhere_project}", status: "pending", schema: "/v2/schemas/member" } },
  { run: "openstack image add project {common} {elsewhere_project}", as: "member", error: /409.*is duplicated for image/ },
  { run: "openstack image member list {common}", as: "member", shows: exactly({ "Image ID": "{common}", "Member ID": "{elsewhere_project}", Status: "pending" }) },
  { run: "openstack image show {common}", as: "stranger", shows: { id: "{common}" } },
  { run: "openstack image list", as: "stranger", shows: none({ ID: "{common}" }) },
  { run: "openstack image list --shared --member-status pending", as: "stranger", shows: [{ ID: "{common}" }] },
  { run: "openstack image list --shared --member-status all", as: "stranger", shows: [{ ID: "{common}" }] },
  { run: "openstack image set --accept {common}", as: "stranger" },
  { run: "openstack image list", as: "stranger", shows: [{ ID: "{common}" }] },
  { run: "openstack image save --file shared.raw {common}", as: "stranger", afterwards: sameBytes("shared.raw", "disk.raw") },
  { run: "openstack image set --name mine {common}", as: "stranger", error: /403.*the project that owns it/ },
  { run: "openstack image delete {common}", as: "stranger", error: /403.*the project that owns it/ },
  { run: "openstack image set --reject {common}", as: "stranger" },
  { run: "openstack image list", as: "stranger", shows: none({ ID: "{common}" }) },
  { run: "glance member-list --image-id {common}", as: "member", shows: exactly({ "Member ID": "{elsewhere_project}", Status: "rejected" }) },
  { run: "glance member-update {common} {elsewhere_project} accepted", as: "member", error: /403.*may accept or reject/ },
  { run: "glance member-update {common} {elsewhere_project} pending", as: "stranger", shows: exactly({ Status: "pending" }) },
  { run: "glance member-delete {common} {elsewhere_project}", as: "member" },
  { run: "glance member-delete {common} {elsewhere_project}", as: "member", error: /404.*not found in the member list/ },
  { run: "glance member-create {common} {elsewhere_project}", as: "member", shows: exactly({ "Image ID": "{common}", Status: "pending" }) },
  { run: "glance member-get {common} {elsewhere_project}", as: "stranger", shows: { member_id: "{elsewhere_project}", status: "pending" } },
  { run: "openstack image remove project {common} {elsewhere_project}", as: "member" },
  { run: "openstack image show {common}", as: "stranger", error: /No Image found/ },
  { run: "openstack image set --private {common}", as: "member" },
  { run: "glance member-create {common} {elsewhere_project}", as: "member", error: /403.*only shared images have members/ },
  { run: "openstack image delete {common}", as: "member" },
];

// biome-ignore format: a row for each command.
const DEACTIVATION: readonly Row[] = [
  { run: "openstack image create --disk-format qcow2 --file disk.qcow2 suspect", as: "member", keep: { suspect: "id" } },
  { run: "openstack image set --deactivate suspect", as: "member" },
  { run: "openstack image show suspect", as: "member", shows: { status: "deactivated" } },
  { run: "openstack image save --file no.qcow2 suspect", as: "member", error: /Unable to download image/ },
  { run: "openstack image save --file evidence.qcow2 suspect", afterwards: sameBytes("evidence.qcow2", "disk.qcow2") },
  { run: "openstack volume create --size 1 --image {suspect} bad", as: "member", error: /is not active.*400/ },
  { run: "openstack image set --activate suspect", as: "member" },
  { run: "openstack image save --file yes.qcow2 suspect", as: "member", afterwards: sameDisk("yes.qcow2", "disk.raw") },
  { run: "glance image-deactivate {suspect}", as: "member" },
  { run: "glance image-reactivate {suspect}", as: "member" },
  { run: "glance image-deactivate {suspect}", as: "stranger", error: /404.*No image found/ },
  { run: "openstack image create --disk-format raw empty", as: "member", keep: { empty: "id" } },
  { run: "glance image-deactivate {empty}", as: "member", error: /403.*Not allowed to deactivate image in status 'queued'/ },
  { run: "openstack image delete suspect empty", as: "member" },
];

// biome-ignore format: a row for each command.
const REFUSALS: readonly Row[] = [
  { run: "openstack image create --disk-format qcow2 --file disk.raw wrong", error: /415.*qcow2/ },
  { run: "openstack image show wrong", error: /No Image found for wrong/ }, // The client has deleted it.
  { run: "openstack image create --disk-format raw --public --file disk.raw mine", as: "member", error: /403.*role "admin"/ },
  { run: "openstack image create --disk-format raw no", as: "reader", error: /403.*role "member"/ },
  { run: "openstack image create --disk-format raw --property checksum=x no", error: /403.*Attribute 'checksum' is read-only/ },
  { run: "openstack image create --disk-format raw --property os_glance_x=1 no", error: /403.*Attribute 'os_glance_x' is reserved/ },
  { run: "openstack image create --project {elsewhere_project} --disk-format raw no", as: "member", error: /403.*not permitted to create images owned by/ },
  { run: "openstack image create --disk-format raw --file disk.raw kept", as: "member", keep: { kept: "id" } },
  { run: "openstack image show kept", as: "reader", shows: { id: "{kept}" } },
  { run: "openstack image save --file no.raw kept", as: "reader", error: /Unable to download image/ },
  { run: "openstack image set --name other kept", as: "reader", error: /403.*role "member"/ },
  { run: "openstack image delete kept", as: "reader", error: /403.*role "member"/ },
  { run: "openstack image delete {kept}", as: "stranger", error: /No Image found/ },
  { run: "openstack image delete kept", as: "member" },
];

// biome-ignore format: a row for each command.
const DISCOVERY: readonly Row[] = [
  { run: "glance explain image", shows: [{ Attribute: "os_hash_value" }, { Attribute: "visibility" }, { Attribute: "min_disk" }] },
  { run: "glance import-info", shows: { "import-methods": /value/ } },
  { run: "glance stores-info", error: /Multi Backend support is not enabled/ },
  { run: "glance usage", shows: [{ Quota: "image_count_total", Limit: "-1" }] },
  { run: "openstack image create --disk-format raw tasks", keep: { image: "id" } },
  { run: "glance image-tasks {image}", error: /does not support image tasks/ }, // Imports have tasks.
  { run: "glance image-import --import-method web-download --uri http://127.0.0.1/disk {image}", error: /Import method 'web-download' is not valid for this cloud/ },
  { run: "glance image-delete {image}" },
];

onCloud("openstack, glance and Image", {
  "upload and save": UPLOAD_AND_SAVE,
  changes: CHANGES,
  lists: LISTS,
  members: MEMBERS,
  deactivation: DEACTIVATION,
  refusals: REFUSALS,
  discovery: DISCOVERY,
});
