import { BlockList, isIP } from "node:net";

/**
 * Whether an address is one of the public Internet, by IANA's registries of special-purpose addresses: not this machine, not
 * its network, not a cloud's metadata service, and no way to write those in IPv6.
 */
export function isPublicAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return !SPECIAL.check(address, "ipv4");
  return family === 6 && GLOBAL_UNICAST.check(address, "ipv6") && !SPECIAL.check(address, "ipv6");
}

/** https://www.iana.org/assignments/iana-ipv4-special-registry, multicast and reserved. */
const IPV4: readonly (readonly [string, number])[] = [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16], // 169.254.169.254 has the credentials of whole clouds.
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.88.99.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4],
];

/** Inside of 2000::/3, https://www.iana.org/assignments/iana-ipv6-special-registry: among them Teredo and 6to4, which carry IPv4 addresses. */
const IPV6: readonly (readonly [string, number])[] = [
  ["2001::", 23],
  ["2001:db8::", 32],
  ["2002::", 16],
  ["3fff::", 20],
];

const SPECIAL = new BlockList();
for (const [net, prefix] of IPV4) SPECIAL.addSubnet(net, prefix, "ipv4");
for (const [net, prefix] of IPV6) SPECIAL.addSubnet(net, prefix, "ipv6");

/** All else (loopback, link-local, unique local, multicast, IPv4-mapped, NAT64) is out. */
const GLOBAL_UNICAST = new BlockList();
GLOBAL_UNICAST.addSubnet("2000::", 3, "ipv6");
