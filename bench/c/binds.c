// binds SOURCE DIR N: open_tree(2) and move_mount(2) of SOURCE to DIR/0 … DIR/N-1 in a new mount namespace and
// nothing else: the lower bound for N bind mounts.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif
#define D(x) do { if ((long)(x) < 0) { perror(#x); return 125; } } while (0)
int main(int c, char **v) {
	char at[4096];
	if (c != 4) return 2;
	D(unshare(CLONE_NEWNS));
	D(mount(0, "/", 0, MS_REC | MS_PRIVATE, 0));
	for (int i = 0; i < atoi(v[3]); i++) {
		int fd = syscall(SYS_open_tree, AT_FDCWD, v[1], OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
		D(fd);
		snprintf(at, sizeof at, "%s/%d", v[2], i);
		D(syscall(SYS_move_mount, fd, "", AT_FDCWD, at, MOVE_MOUNT_F_EMPTY_PATH));
		close(fd);
	}
	return 0;
}
