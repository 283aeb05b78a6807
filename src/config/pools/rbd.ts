import Type from "typebox";
import { text } from "../option-types.ts";

/** What only `rbd` pools have. */
export const RBD_SCHEMA = Type.Object(
  {
    confPath: text({ default: "/etc/ceph/ceph.conf", path: true, description: "Ceph's configuration. Cinder's and Glance's `rbd_ceph_conf`, `rbd_store_ceph_conf`." }),
    pool: text({ description: "The Ceph pool. Cinder's `rbd_pool`, Glance's `rbd_store_pool`." }),
    user: text({ default: "admin", description: "The Ceph user without `client.`; its keyring is found as ceph.conf says. Cinder's `rbd_user`." }),
  },
  { additionalProperties: false },
);
