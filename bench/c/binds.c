// binds SOURCE DIR N bare|rules: open_tree(2) and move_mount(2) of SOURCE to DIR/0 … DIR/N-1 in a new mount namespace
// and nothing else: the lower bound for N bind mounts. With "rules", what the rules for files of a container
// ask for besides: each destination is opened without following links and used through its descriptor (R1), and
// looked up again at the end and compared with what was mounted there (R3). That is the lower bound for a runtime
// which keeps them, and reads no configuration.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000
#endif
#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif
#define D(x) do { if ((long)(x) < 0) { perror(#x); return 125; } } while (0)
#define MAX 1000
#define MASK (STATX_BASIC_STATS | STATX_MNT_ID)
static int tree[MAX], place[MAX];
static struct statx root[MAX], again;
static char at[4096];

static int bare(const char *source, const char *dir, int n) {
	for (int i = 0; i < n; i++) {
		int fd = syscall(SYS_open_tree, AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
		D(fd);
		snprintf(at, sizeof at, "%s/%d", dir, i);
		D(syscall(SYS_move_mount, fd, "", AT_FDCWD, at, MOVE_MOUNT_F_EMPTY_PATH));
		close(fd);
	}
	return 0;
}

static int rules(const char *source, const char *dir, int n) {
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS};
	int slash = open("/", O_PATH | O_CLOEXEC);
	for (int i = 0; i < n; i++) {
		D(tree[i] = syscall(SYS_open_tree, AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
		D(statx(tree[i], "", AT_EMPTY_PATH, MASK, &root[i]));
	}
	for (int i = 0; i < n; i++) {
		snprintf(at, sizeof at, "%s/%d", dir, i);
		D(place[i] = syscall(SYS_openat2, slash, at, &how, sizeof how));
	}
	for (int i = 0; i < n; i++)
		D(syscall(SYS_move_mount, tree[i], "", place[i], "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
	for (int i = 0; i < n; i++) {
		snprintf(at, sizeof at, "%s/%d", dir, i);
		D(statx(AT_FDCWD, at, 0, MASK, &again));
		if (again.stx_mnt_id != root[i].stx_mnt_id || again.stx_ino != root[i].stx_ino) return 1;
	}
	return 0;
}

int main(int c, char **v) {
	if (c != 5 || atoi(v[3]) > MAX) return 2;
	struct rlimit files;
	D(getrlimit(RLIMIT_NOFILE, &files));
	files.rlim_cur = files.rlim_max; // rules holds two descriptors a mount
	D(setrlimit(RLIMIT_NOFILE, &files));
	D(unshare(CLONE_NEWNS));
	D(mount(0, "/", 0, MS_REC | MS_PRIVATE, 0));
	return (strcmp(v[4], "bare") ? rules : bare)(v[1], v[2], atoi(v[3]));
}
