/** `openstack` against Identity v3: https://docs.openstack.org/python-openstackclient/6.0.0/cli/command-list.html */
import type { Credentials } from "./cloud.ts";
import { anything, exactly, none } from "./expectation.ts";
import { onCloud, type Row } from "./flow.ts";

// biome-ignore format: a row for each command.
const TOKENS: readonly Row[] = [
  { run: "openstack token issue", shows: { id: /^ey/, expires: /^20.*\+0000$/, project_id: anything, user_id: anything }, keep: { token: "id" } },
  { run: "openstack --os-auth-type v3token --os-token {token} token issue", shows: { id: /^ey/ }, keep: { second: "id" } },
  { run: "openstack token revoke {second}" },
  { run: "openstack --os-auth-type v3token --os-token {second} token issue", error: /revoked.*401/ },
  { run: "openstack token revoke {second}", error: /no such token.*404/ },
  { run: "openstack --os-auth-type v3token --os-token nonsense token issue", error: /not valid, or has expired.*401/ },
  { run: "openstack --os-auth-type v3token --os-token {token} --os-project-name lab token issue", error: /no role on it.*401/ },
  { run: "openstack --os-auth-type v3token --os-token {token} --os-project-name nowhere token issue", error: /no such project.*401/ },
  { run: "openstack token issue", as: "reader", shows: { project_id: "{lab_project}", user_id: "{reader_user}" } },
];

// biome-ignore format: a row for each command.
const CATALOG: readonly Row[] = [
  {
    run: "openstack catalog list",
    shows: exactly({ Type: "identity" }, { Type: "image", Name: "glance" }, { Type: "volumev3", Name: "cinderv3" }, { Type: "block-storage" }, { Type: "compute", Name: "nova" }),
  },
  { run: "openstack catalog show image", shows: { type: "image", endpoints: [{ interface: "public", url: /\/image$/ }] } },
  { run: "openstack catalog show nothing", exit: 0, error: /service nothing not found/ },
  { run: "openstack service list", shows: [{ Name: "glance", Type: "image" }] },
  { run: "openstack service show glance", shows: { type: "image", enabled: true } },
  { run: "openstack endpoint list --service image --interface public", shows: exactly({ "Service Type": "image", Interface: "public", Region: "RegionOne", URL: /\/image$/ }) },
  { run: "openstack endpoint list", shows: [{ "Service Type": "volumev3", URL: /\/volume\/v3\/\$\(project_id\)s$/ }] },
  { run: "openstack endpoint show image-public", shows: { interface: "public", enabled: true, service_type: "image" } },
  { run: "openstack endpoint show nothing", error: /More than one endpoint exists with the name/ }, // It asks for a name, which endpoints do not have.,
  { run: "openstack region list", shows: exactly({ Region: "RegionOne" }) },
  { run: "openstack region show RegionOne", shows: { region: "RegionOne" } },
  { run: "openstack versions show", shows: [{ "Service Type": "identity", Version: "3.14", Status: "CURRENT" }] },
];

// biome-ignore format: a row for each command.
const PROJECTS: readonly Row[] = [
  { run: "openstack project create --description 'For a test' --property colour=blue atlas", shows: { name: "atlas", description: "For a test", enabled: true, domain_id: "default" }, keep: { atlas: "id" } },
  { run: "openstack project create atlas", error: /project "atlas".*409/ },
  { run: "openstack project create --or-show atlas", shows: { id: "{atlas}" } },
  { run: "openstack project create --parent atlas --disable below", shows: { parent_id: "{atlas}", enabled: false } },
  { run: "openstack project list", shows: [{ ID: "{atlas}", Name: "atlas" }, { Name: "below" }] },
  { run: "openstack project list --long --parent atlas", shows: exactly({ Name: "below", Enabled: false }) },
  { run: "openstack project list --domain default --sort name:desc", shows: [{ Name: "atlas" }] },
  { run: "openstack project show atlas", shows: { id: "{atlas}" } },
  { run: "openstack project set --name globe --description Round --disable atlas" },
  { run: "openstack project show globe", shows: { id: "{atlas}", description: "Round", enabled: false } },
  { run: "openstack project show atlas", error: /No project with a name or ID of 'atlas' exists/ },
  { run: "openstack project set --enable globe" },
  { run: "openstack project delete globe", error: /it has the child "below".*403/ },
  { run: "openstack project delete below globe" },
  { run: "openstack project list", shows: none({ Name: /globe|below/ }) },
  { run: "openstack project list --my-projects", as: "member", shows: exactly({ Name: "lab" }) },
];

const adaWith = (password: string): Credentials => ({
  OS_AUTH_TYPE: "password",
  OS_USERNAME: "ada",
  OS_PASSWORD: password,
  OS_USER_DOMAIN_ID: "default",
  OS_PROJECT_NAME: "lab",
  OS_PROJECT_DOMAIN_NAME: "Default",
});
// biome-ignore format: a row for each command.
const USERS: readonly Row[] = [
  { run: "openstack user create --password first --email ada@example.org --description Countess ada", shows: { name: "ada", email: "ada@example.org", enabled: true, domain_id: "default" }, keep: { ada: "id" } },
  { run: "openstack user create ada", error: /user "ada".*409/ },
  { run: "openstack user create --or-show ada", shows: { id: "{ada}" } },
  { run: "openstack user list --long", shows: [{ ID: "{ada}", Name: "ada", Email: "ada@example.org", Enabled: true }] },
  { run: "openstack user show ada", shows: { id: "{ada}", description: "Countess" } },
  { run: "openstack user set --email lovelace@example.org --description Analyst --project lab ada" },
  { run: "openstack user show ada", shows: { email: "lovelace@example.org", description: "Analyst", default_project_id: "{lab_project}" } },
  { run: "openstack role add --user ada --project lab member" },
  { run: "openstack user list --project lab", shows: [{ ID: "{ada}" }, { ID: "{member_user}" }] },
  { run: "openstack user password set --original-password first --password second", as: adaWith("first") },
  { run: "openstack token issue", as: adaWith("first"), error: /secret, is wrong.*401/ },
  { run: "openstack token issue", as: adaWith("second"), shows: { user_id: "{ada}", project_id: "{lab_project}" } },
  { run: "openstack user set --password third ada" },
  { run: "openstack token issue", as: adaWith("third"), shows: { user_id: "{ada}" } },
  { run: "openstack user set --disable ada" },
  { run: "openstack token issue", as: adaWith("third"), error: /401/ },
  { run: "openstack user delete ada" },
  { run: "openstack user show ada", error: /No user with a name or ID of 'ada' exists/ },
];

// biome-ignore format: a row for each command.
const ROLES: readonly Row[] = [
  { run: "openstack role list", shows: [{ Name: "admin" }, { Name: "member" }, { Name: "reader" }, { Name: "service" }] },
  { run: "openstack role create --description 'Looks after' keeper", shows: { name: "keeper" }, keep: { keeper: "id" } },
  { run: "openstack role create keeper", error: /role "keeper".*409/ },
  { run: "openstack role show keeper", shows: { id: "{keeper}", name: "keeper" } },
  { run: "openstack role set --name warden keeper" },
  { run: "openstack role show warden", shows: { id: "{keeper}" } },
  { run: "openstack role add --user reader --project elsewhere warden" },
  { run: "openstack role assignment list --user reader --names", shows: [{ Role: "warden", User: "reader@Default", Project: "elsewhere@Default" }, { Role: "reader", Project: "lab@Default" }] },
  { run: "openstack role assignment list --project elsewhere --role warden", shows: exactly({ Role: "{keeper}", User: "{reader_user}", Project: "{elsewhere_project}" }) },
  { run: "openstack role assignment list --user admin --system all --names", shows: [{ Role: "admin", System: "all" }] },
  { run: "openstack role assignment list --effective --user member", shows: [{ Project: "{lab_project}" }] },
  { run: "openstack role remove --user reader --project elsewhere warden" },
  { run: "openstack role remove --user reader --project elsewhere warden", error: /does not have the role there.*404/ },
  { run: "openstack role assignment list --user reader --project elsewhere", shows: exactly() },
  { run: "openstack role add --user reader --domain default warden" },
  { run: "openstack role assignment list --domain default --user reader --names", shows: exactly({ Role: "warden", Domain: "Default" }) },
  { run: "openstack role delete warden" },
  { run: "openstack role assignment list --user reader --domain default", shows: exactly() },
  { run: "openstack role show warden", error: /No role with a name or ID of 'warden' exists/ },
  { run: "openstack role delete admin", error: /is built in.*403/ },
];

const SCOUT: Credentials = {
  OS_AUTH_TYPE: "v3password",
  OS_USERNAME: "scout",
  OS_PASSWORD: "tent",
  OS_USER_DOMAIN_NAME: "outlands",
  OS_PROJECT_NAME: "camp",
  OS_PROJECT_DOMAIN_NAME: "outlands",
};
// biome-ignore format: a row for each command.
const DOMAINS: readonly Row[] = [
  { run: "openstack domain list", shows: [{ ID: "default", Name: "Default", Enabled: true }] },
  { run: "openstack domain create --description Far outlands", shows: { name: "outlands", enabled: true }, keep: { outlands: "id" } },
  { run: "openstack domain create outlands", error: /domain "outlands".*409/ },
  { run: "openstack project create --domain outlands camp", shows: { domain_id: "{outlands}" }, keep: { camp: "id" } },
  { run: "openstack user create --domain outlands --password tent scout", shows: { domain_id: "{outlands}" } },
  { run: "openstack role add --user scout --user-domain outlands --project camp --project-domain outlands member" },
  { run: "openstack token issue", as: SCOUT, shows: { project_id: "{camp}" } },
  { run: "openstack domain delete outlands", error: /Disable it first.*403/ },
  { run: "openstack domain set --disable outlands" },
  { run: "openstack domain show outlands", shows: { id: "{outlands}", enabled: false } },
  { run: "openstack domain delete outlands" },
  { run: "openstack project show {camp}", error: /No project with a name or ID of/ },
  { run: "openstack domain delete default", error: /cannot be deleted.*403/ },
];

const robotWith = (secret: string): Credentials => ({
  OS_AUTH_TYPE: "v3applicationcredential",
  OS_APPLICATION_CREDENTIAL_ID: "{robot}",
  OS_APPLICATION_CREDENTIAL_SECRET: secret,
});
const ROBOT_BY_NAME: Credentials = {
  OS_AUTH_TYPE: "v3applicationcredential",
  OS_APPLICATION_CREDENTIAL_NAME: "robot",
  OS_APPLICATION_CREDENTIAL_SECRET: "sesame",
  OS_USERNAME: "member",
  OS_USER_DOMAIN_ID: "default",
};
// biome-ignore format: a row for each command.
const APPLICATION_CREDENTIALS: readonly Row[] = [
  { run: "openstack application credential create --secret sesame --role reader --description 'For scripts' robot", as: "member", shows: { name: "robot", secret: "sesame", roles: "reader", unrestricted: false, project_id: "{lab_project}" }, keep: { robot: "id" } },
  { run: "openstack application credential create robot", as: "member", error: /application credential "robot".*409/ },
  { run: "openstack application credential list", as: "member", shows: [{ ID: "{robot}", Name: "robot", "Project ID": "{lab_project}" }] },
  { run: "openstack application credential show robot", as: "member", shows: { id: "{robot}", description: "For scripts" } },
  { run: "openstack token issue", as: robotWith("sesame"), shows: { project_id: "{lab_project}", user_id: "{member_user}" } },
  { run: "openstack volume list", as: robotWith("sesame"), shows: exactly() },
  { run: "openstack volume create --size 1 no", as: robotWith("sesame"), error: /role "member".*403/ },
  { run: "openstack token issue", as: robotWith("wrong"), error: /401/ },
  { run: "openstack token issue", as: ROBOT_BY_NAME, shows: { user_id: "{member_user}" } },
  { run: "openstack application credential create another", as: robotWith("sesame"), error: /restricted application credential.*403/ },
  { run: "openstack application credential create --expiration 2020-01-01T00:00:00 late", as: "member", error: /expires_at is in the past.*400/ },
  { run: "openstack application credential create --role admin tall", as: "member", error: /does not have the role "admin".*400/ },
  { run: "openstack application credential create --unrestricted --expiration 2099-01-01T00:00:00 wide", as: "member", shows: { unrestricted: true, expires_at: /^2099-01-01T00:00:00/, secret: /./ } },
  { run: "openstack application credential show {robot}", as: "stranger", error: /No applicationcredential with a name or ID/ },
  { run: "openstack application credential delete robot wide", as: "member" },
  { run: "openstack token issue", as: robotWith("sesame"), error: /401/ },
  { run: "openstack application credential list", as: "member", shows: exactly() },
];

// biome-ignore format: a row for each command.
const WITHOUT_RIGHTS: readonly Row[] = [
  { run: "openstack project list", as: "member", shows: exactly({ Name: "lab" }) }, // Refused, it asks for the own ones.,
  { run: "openstack user list", as: "member", error: /may not list users.*403/ },
  { run: "openstack domain list", as: "reader", error: /may not list domains.*403/ },
  { run: "openstack user create --password x eve", as: "member", error: /may not create users.*403/ },
  { run: "openstack project create lair", as: "member", error: /may not create projects.*403/ },
  { run: "openstack role create boss", as: "member", error: /may not create roles.*403/ },
  { run: "openstack role add --user {member_user} --project {lab_project} admin", as: "member", error: /may not give roles.*403/ },
  { run: "openstack role assignment list --user {reader_user}", as: "member", error: /may not list role assignments.*403/ },
  { run: "openstack user show {reader_user}", as: "stranger", error: /may not list users.*403/ },
  { run: "openstack user show {stranger_user}", as: "stranger", shows: { name: "stranger" } },
  { run: "openstack project show {lab_project}", as: "reader", shows: { name: "lab" } },
  { run: "openstack project show {lab_project}", as: "stranger", error: /may not list projects.*403/ },
];

onCloud("openstack and Identity", {
  tokens: TOKENS,
  "catalog, services, endpoints": CATALOG,
  projects: PROJECTS,
  users: USERS,
  roles: ROLES,
  domains: DOMAINS,
  "application credentials": APPLICATION_CREDENTIALS,
  "without rights": WITHOUT_RIGHTS,
});
