/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every key of xl.cfg(5), Xen 4.17, that Haven does not support, so that "Xen has it, Haven does not" and "nobody has it" are
 * told apart. `neutral` is the value that asks for nothing: files written for Xen carry many of these.
 */
#include "lib/xlcfg_keys.h"

#include <string.h>

#define HVM "it belongs to HVM and PVH guests; Haven runs PV guests"
#define PASSTHROUGH "a guest with a host's device could not move"
#define STUBDOM "there are no stub domains here"
#define SCHED "the host's scheduler shares out the CPUs; there are cpu_weight and cap"
#define PIN "there is cpus, and xl vcpu-pin"
#define GRAPHICS "PV guests here have a text console"

static const struct xlcfg_refusal refusals[] = {
	{ "acpi", "1", HVM }, { "acpi_firmware", NULL, HVM }, { "acpi_laptop_slate", "0", HVM }, { "acpi_s3", "1", HVM },
	{ "acpi_s4", "1", HVM }, { "altp2m", "disabled", HVM }, { "altp2mhvm", "0", HVM }, { "apic", "1", HVM },
	{ "argo", NULL, NULL }, { "assisted_xapic", NULL, HVM }, { "assisted_x2apic", NULL, HVM },
	{ "backend", NULL, NULL }, { "bios", NULL, HVM }, { "bios_path_override", NULL, HVM }, { "blkdev_start", "xvda", NULL },
	{ "boot", NULL, HVM }, { "bootloader", NULL, "name the kernel with kernel= and ramdisk=" },
	{ "bootloader_args", NULL, "name the kernel with kernel= and ramdisk=" },
	{ "channel", NULL, NULL }, { "claim_mode", "1", NULL }, { "console", NULL, NULL },
	{ "cpus_soft", "all", PIN }, { "device_model_args", NULL, HVM },
	{ "device_model_args_hvm", NULL, HVM }, { "device_model_args_pv", NULL, NULL },
	{ "device_model_override", NULL, HVM }, { "device_model_stubdomain_override", "0", STUBDOM },
	{ "device_model_stubdomain_seclabel", NULL, STUBDOM }, { "device_model_user", NULL, HVM },
	{ "device_model_version", "qemu-xen", HVM }, { "device_tree", NULL, "it belongs to ARM guests" },
	{ "dm_restrict", "0", HVM }, { "driver_domain", "0", "Domain-0 holds the back ends" },
	{ "dtdev", NULL, PASSTHROUGH }, { "e820_host", "0", PASSTHROUGH }, { "event_channels", NULL, NULL },
	{ "extratime", NULL, SCHED }, { "fda", NULL, HVM }, { "fdb", NULL, HVM }, { "features", NULL, NULL },
	{ "gfx_passthru", "0", PASSTHROUGH }, { "gic_version", NULL, "it belongs to ARM guests" }, { "hap", "1", HVM },
	{ "hdtype", "ide", HVM }, { "hpet", "1", HVM }, { "init_seclabel", NULL, NULL }, { "iomem", NULL, PASSTHROUGH },
	{ "ioports", NULL, PASSTHROUGH }, { "irqs", NULL, PASSTHROUGH }, { "keymap", NULL, GRAPHICS },
	{ "latency", NULL, SCHED }, { "localtime", "0", "the guest's clock is UTC" }, { "max_event_channels", "1023", NULL },
	{ "max_grant_frames", "64", NULL }, { "max_grant_version", "2", NULL }, { "max_maptrack_frames", "1024", NULL },
	{ "mca_caps", NULL, HVM }, { "mmio_hole", NULL, HVM }, { "ms_vm_genid", "none", HVM }, { "msr_relaxed", "0", NULL },
	{ "nestedhvm", "0", HVM }, { "nodes", NULL, PIN }, { "nographic", "1", GRAPHICS }, { "nomigrate", "0", NULL },
	{ "nx", "1", NULL }, { "on_soft_reset", "soft-reset", NULL }, { "oos", "1", HVM },
	{ "opengl", "0", GRAPHICS }, { "p9", NULL, NULL }, { "pae", "1", HVM }, { "passthrough", "disabled", PASSTHROUGH },
	{ "pci", NULL, PASSTHROUGH }, { "pci_msitranslate", "1", PASSTHROUGH }, { "pci_permissive", "0", PASSTHROUGH },
	{ "pci_power_mgmt", "0", PASSTHROUGH }, { "pci_seize", "0", PASSTHROUGH }, { "period", NULL, SCHED },
	{ "pool", "Pool-0", SCHED }, { "pvcalls", NULL, NULL }, { "pvh", "0", "PVH guests need /dev/kvm, which Haven does not use yet" },
	{ "pvshim", "0", HVM }, { "pvshim_cmdline", NULL, HVM }, { "pvshim_extra", NULL, HVM }, { "pvshim_path", NULL, HVM },
	{ "rdm", NULL, PASSTHROUGH }, { "rdm_mem_boundary", NULL, PASSTHROUGH }, { "rtc_timeoffset", "0", "the guest's clock is UTC" },
	{ "sched", NULL, SCHED }, { "sdl", "0", GRAPHICS }, { "seclabel", NULL, "use the host's security modules on the domain's scope" },
	{ "serial", NULL, HVM }, { "shadow_memory", NULL, HVM }, { "slice", NULL, SCHED }, { "smbios_firmware", NULL, HVM },
	{ "soundhw", NULL, HVM }, { "spice", "0", GRAPHICS }, { "spice_clipboard_sharing", "0", GRAPHICS },
	{ "spice_image_compression", NULL, GRAPHICS }, { "spice_streaming_video", NULL, GRAPHICS },
	{ "spiceagent_mouse", "1", GRAPHICS }, { "spicedisable_ticketing", "0", GRAPHICS }, { "spicehost", NULL, GRAPHICS },
	{ "spicepasswd", NULL, GRAPHICS }, { "spiceport", NULL, GRAPHICS }, { "spicetls_port", NULL, GRAPHICS },
	{ "spiceusbredirection", "0", GRAPHICS }, { "spicevdagent", "0", GRAPHICS }, { "static_shm", NULL, NULL },
	{ "stdvga", "0", HVM }, { "stubdomain_cmdline", NULL, STUBDOM }, { "stubdomain_kernel", NULL, STUBDOM },
	{ "stubdomain_memory", NULL, STUBDOM }, { "stubdomain_ramdisk", NULL, STUBDOM },
	{ "suppress_spurious_page_faults", NULL, NULL }, { "system_firmware", NULL, HVM }, { "tee", "none", "it belongs to ARM guests" },
	{ "timer_mode", NULL, HVM }, { "tsc_mode", "default", NULL }, { "usb", "0", HVM }, { "usbctrl", NULL, PASSTHROUGH },
	{ "usbdev", NULL, PASSTHROUGH }, { "usbdevice", NULL, HVM }, { "usbversion", NULL, HVM }, { "vcpus_list", NULL, NULL },
	{ "vdispl", NULL, GRAPHICS }, { "vendor_device", "none", HVM }, { "vfb", NULL, GRAPHICS }, { "vga", NULL, HVM },
	{ "videoram", NULL, GRAPHICS }, { "viommu", NULL, HVM }, { "viridian", "0", HVM }, { "virtio", NULL, NULL },
	{ "vkb", NULL, GRAPHICS }, { "vkb_device", "0", GRAPHICS }, { "vmtrace_buf_kb", "0", HVM }, { "vnc", "0", GRAPHICS },
	{ "vncdisplay", NULL, GRAPHICS }, { "vnclisten", NULL, GRAPHICS }, { "vncpasswd", NULL, GRAPHICS },
	{ "vncunused", NULL, GRAPHICS }, { "vncviewer", "0", GRAPHICS }, { "vnuma", NULL, "a guest is one NUMA node here" },
	{ "vpmu", "0", NULL }, { "vpt_align", "1", HVM }, { "vsnd", NULL, NULL }, { "vtpm", NULL, NULL },
	{ "vuart", NULL, "it belongs to ARM guests" }, { "xauthority", NULL, GRAPHICS }, { "xen_platform_pci", "1", HVM },
	{ "xend_suspend_evtchn_compat", "0", NULL },
};

const struct xlcfg_refusal *xlcfg_refusal_find(const char *key)
{
	size_t i;

	for (i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
		if (strcmp(refusals[i].key, key) == 0)
			return &refusals[i];
	return NULL;
}
