# Makes the root of a machine and becomes its init: an overlay over this machine's own root, so that Debian's packages are
# there, with everything that is written kept in memory. Runs in mount, PID, host name, IPC and cgroup namespaces of its own,
# in the network namespace of the node.
# Arguments: an empty folder, the host name, a folder that shows up as /srv/exchange.
set -eu
folder=$1 name=$2 exchange=$3
mount --make-rprivate /
mount -t tmpfs tmpfs "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
root=$folder/root
mount -t proc proc "$root/proc"
# As container managers do: settings of the kernel are everybody's.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs sysfs "$root/sys"
mount -t bpf bpf "$root/sys/fs/bpf"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
for device in null zero full random urandom tty; do cp -a "/dev/$device" "$root/dev/"; done
ln -s /proc/self/fd "$root/dev/fd"
mkdir -p "$root/srv/exchange"
mount --bind "$exchange" "$root/srv/exchange"
for parent in run tmp; do mount -t tmpfs tmpfs "$root/$parent"; done
hostname "$name"
echo "$name" > "$root/etc/hostname"
: > "$root/etc/machine-id"
# What this machine may have of an earlier installation by hand is not part of the new one.
rm -rf "$root/etc/heartbeat-xdp" "$root/var/lib/heartbeat" "$root/usr/bin/heartbeat"
# The index of all man pages is rebuilt with every package where this file is.
rm -f "$root/var/lib/man-db/auto-update"
# Images of containers forbid packages to start services.
rm -f "$root/usr/sbin/policy-rc.d"
for unit in systemd-timesyncd systemd-sysctl systemd-modules-load systemd-update-utmp; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit.service"
done
cd "$root"
pivot_root . mnt
umount -l /mnt
export container=heartbeat-test
unset NOTIFY_SOCKET
# The clock, the kernel's modules and power are not the machine's.
exec setpriv --bounding-set -sys_time,-sys_module,-sys_boot,-syslog,-mknod,-sys_rawio \
    /lib/systemd/systemd --unit=multi-user.target --show-status=0 --log-target=journal < /dev/null
