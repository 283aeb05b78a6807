"""The main job by openstacksdk 0.101, on which Ansible's modules stand. Prints what it saw as JSON.

    sdk_flow.py FOLDER    (FOLDER has disk.qcow2; who and where is in the environment, as for openstack)
"""

import json
import os
import sys
import uuid

import openstack
from openstack import exceptions, resource


def main(folder):
    cloud = openstack.connect(app_name="sdk-flow")
    flow = Flow(cloud, folder)
    print(json.dumps({name: getattr(flow, name)() for name in FLOWS}))


class Flow:
    def __init__(self, cloud, folder):
        self.cloud = cloud
        self.folder = folder
        self.name = f"sdk-{uuid.uuid4().hex[:8]}"

    def upload_image(self):
        file = {"filename": os.path.join(self.folder, "disk.qcow2"), "disk_format": "qcow2", "container_format": "bare", "validate_checksum": True}
        self.image = self.cloud.create_image(self.name, **file, wait=True, tags=["sdk"], meta={"os_distro": "debian"})
        again = self.cloud.create_image(self.name, **file, wait=True)
        found = [image.id for image in self.cloud.image.images(tag="sdk")]
        shown = self.cloud.image.get_image(self.image.id)
        return {"status": shown.status, "virtual_size": shown.virtual_size, "same_again": again.id == self.image.id, "found": found == [self.image.id]}

    def create_volume(self):
        self.volume = self.cloud.create_volume(1, name=self.name, image=self.image.id, metadata={"made": "by sdk"}, wait=True, timeout=60)
        shown = self.cloud.get_volume_by_id(self.volume.id)
        return {"status": shown.status, "bootable": shown.is_bootable, "metadata": shown.metadata, "image": shown.volume_image_metadata["image_name"] == self.name}

    def create_snapshot(self):
        self.snapshot = self.cloud.create_volume_snapshot(self.volume.id, name=self.name, wait=True, timeout=60)
        listed = self.cloud.search_volume_snapshots(filters={"volume_id": self.volume.id})
        return {"status": self.snapshot.status, "listed": [snapshot.id for snapshot in listed] == [self.snapshot.id]}

    def extend(self):
        block_storage = self.cloud.block_storage
        block_storage.extend_volume(self.volume, 2)
        return {"size": block_storage.wait_for_status(block_storage.get_volume(self.volume.id), "available", ["error_extending"], 1, 60).size}

    def upload_volume(self):
        name = f"{self.name}-back"
        self.cloud.block_storage.upload_volume_to_image(self.volume, name, disk_format="qcow2", container_format="bare")
        self.back = resource.wait_for_status(self.cloud.image, self.cloud.image.find_image(name), "active", ["killed"], 1, 120)
        self.cloud.download_image(self.back.id, output_path=os.path.join(self.folder, "back.qcow2"))
        return {"status": self.back.status, "virtual_size": self.back.virtual_size, "os_distro": self.back.os_distro}

    def share(self):
        lab = self.cloud.get_project("lab")
        self.cloud.image.update_image(self.back.id, visibility="shared")
        member = self.cloud.image.add_member(self.back.id, member_id=lab.id)
        members = [(found.member_id == lab.id, found.status) for found in self.cloud.image.members(self.back.id)]
        self.cloud.image.remove_member(member, self.back.id)
        return {"members": members}

    def create_server(self):
        compute = self.cloud.compute
        flavor = compute.find_flavor("m1.nano")
        server = compute.create_server(name=self.name, image_id=self.image.id, flavor_id=flavor.id, networks="none", metadata={"made": "by sdk"})
        self.server = compute.wait_for_server(server, wait=120)
        return {"status": self.server.status, "vm_state": self.server.vm_state, "metadata": self.server.metadata, "flavor": self.server.flavor["original_name"]}

    def attach(self):
        self.cloud.attach_volume(self.server, self.cloud.get_volume_by_id(self.volume.id), wait=True, timeout=60)
        attached = [found.volume_id for found in self.cloud.compute.volume_attachments(self.server)]
        device = self.cloud.get_volume_by_id(self.volume.id).attachments[0]["device"]
        self.cloud.detach_volume(self.server, self.cloud.get_volume_by_id(self.volume.id), wait=True, timeout=60)
        return {"attached": attached == [self.volume.id], "device": device, "afterwards": self.cloud.get_volume_by_id(self.volume.id).status}

    def stop_and_delete_server(self):
        compute = self.cloud.compute
        compute.stop_server(self.server)
        stopped = compute.wait_for_server(self.server, status="SHUTOFF", wait=60)
        deleted = self.cloud.delete_server(self.server.id, wait=True, timeout=60)
        return {"status": stopped.status, "deleted": deleted, "left": len(list(compute.servers()))}

    def list_pages(self):
        names = [volume.name for volume in self.cloud.block_storage.volumes(details=True, limit=1)]
        images = [image.id for image in self.cloud.image.images(limit=1)]
        return {"volumes": names == [self.name], "images": {self.image.id, self.back.id} <= set(images)}

    def ask_for_nothing(self):
        try:
            self.cloud.block_storage.get_volume(str(uuid.uuid4()))
        except exceptions.ResourceNotFound as error:
            return {"status": error.status_code, "says": "could not be found" in str(error)}

    def delete(self):
        deleted = [
            self.cloud.delete_volume_snapshot(self.snapshot.id, wait=True, timeout=60),
            self.cloud.delete_volume(self.volume.id, wait=True, timeout=60),
            self.cloud.delete_image(self.image.id, wait=True),
            self.cloud.delete_image(self.back.id, wait=True),
        ]
        return {"deleted": deleted, "left": len(self.cloud.list_volumes() + self.cloud.list_volume_snapshots() + self.cloud.list_images())}


FLOWS = ["upload_image", "create_volume", "create_snapshot", "extend", "upload_volume", "share", "create_server", "attach", "stop_and_delete_server", "list_pages", "ask_for_nothing", "delete"]

if __name__ == "__main__":
    main(*sys.argv[1:])
