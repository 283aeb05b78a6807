/** What `mica serve` prints when it is ready: where it is, who gets in, what to try next. */
export function welcomeText(at: { url: string; dataDir: string; cloudsFile: string; micaCommand?: string }): string {
  const mica = at.micaCommand ?? "./bin/mica";
  return [
    "",
    `  Mica is ready at ${at.url}`,
    "",
    `  Data      ${at.dataDir}`,
    `  User      admin, project admin, domain default; the password is in ${at.cloudsFile}`,
    "",
    "  Try, in another terminal:",
    `    ${mica} demo                                          an image in, volumes out, an image again`,
    `    ${mica} pools                                         where the bytes are, and what each place can do`,
    `    OS_CLIENT_CONFIG_FILE=${at.cloudsFile} openstack --os-cloud mica image list`,
    "",
    "  Ctrl-C ends it; the data stays.",
    "",
  ].join("\n");
}
