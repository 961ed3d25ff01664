/*
 * Gives libseccomp's answers to the tests of package seccomp. Standard input
 * has one command a line, and each gets one line of answer:
 *
 *   number ARCH NAME            the number of a system call, -1 if unknown
 *   new ACTION OPTIMIZE         a filter begins (no answer)
 *   arch ARCH                   (no answer)
 *   rule ACTION NAME [INDEX OP A B]...   (no answer)
 *   end                         "program CODE JT JF K ...", or "error TEXT"
 */
#define _GNU_SOURCE
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct insn {
	uint16_t code;
	uint8_t jt, jf;
	uint32_t k;
};

static char failure[256];

static void fail(const char *what, int rc)
{
	if (!failure[0])
		snprintf(failure, sizeof(failure), "%s: %s", what, strerror(-rc));
}

static void rule(scmp_filter_ctx ctx, char *rest)
{
	char *save, *word = strtok_r(rest, " ", &save);
	uint32_t action = strtoul(word, NULL, 0);
	char *name = strtok_r(NULL, " ", &save);
	struct scmp_arg_cmp args[6];
	int n = 0, nr = seccomp_syscall_resolve_name(name), rc;
	char *index;

	if (nr == __NR_SCMP_ERROR)
		return;
	while ((index = strtok_r(NULL, " ", &save)) != NULL && n < 6) {
		args[n].arg = strtoul(index, NULL, 0);
		args[n].op = strtoul(strtok_r(NULL, " ", &save), NULL, 0);
		args[n].datum_a = strtoull(strtok_r(NULL, " ", &save), NULL, 0);
		args[n].datum_b = strtoull(strtok_r(NULL, " ", &save), NULL, 0);
		n++;
	}
	rc = seccomp_rule_add_array(ctx, action, nr, n, args);
	if (rc < 0)
		fail(name, rc);
}

static void end(scmp_filter_ctx ctx)
{
	static struct insn program[1 << 16];
	int fd = memfd_create("program", 0), rc = seccomp_export_bpf(ctx, fd);
	ssize_t size;

	if (rc < 0)
		fail("export", rc);
	size = pread(fd, program, sizeof(program), 0);
	close(fd);
	if (failure[0]) {
		printf("error %s\n", failure);
	} else {
		printf("program");
		for (int i = 0; i < size / (ssize_t)sizeof(program[0]); i++)
			printf(" %u %u %u %u", program[i].code, program[i].jt, program[i].jf, program[i].k);
		printf("\n");
	}
	fflush(stdout);
}

int main(void)
{
	static char line[1 << 16];
	scmp_filter_ctx ctx = NULL;

	while (fgets(line, sizeof(line), stdin)) {
		char *rest = strchr(line, ' ');

		line[strcspn(line, "\n")] = 0;
		if (rest)
			*rest++ = 0;
		if (!strcmp(line, "number")) {
			char *name = strchr(rest, ' ');

			*name++ = 0;
			printf("%d\n", seccomp_syscall_resolve_name_arch(seccomp_arch_resolve_name(rest), name));
			fflush(stdout);
		} else if (!strcmp(line, "new")) {
			char *next;
			uint32_t action = strtoul(rest, &next, 0);

			failure[0] = 0;
			ctx = seccomp_init(action);
			if (!ctx)
				fail("init", 0);
			seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, strtoul(next, NULL, 0));
		} else if (!strcmp(line, "arch")) {
			int rc = seccomp_arch_add(ctx, seccomp_arch_resolve_name(rest));

			if (rc < 0 && rc != -17)
				fail(rest, rc);
		} else if (!strcmp(line, "rule")) {
			rule(ctx, rest);
		} else if (!strcmp(line, "end")) {
			end(ctx);
			seccomp_release(ctx);
		}
	}
	return 0;
}
