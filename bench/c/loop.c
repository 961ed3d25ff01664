// loop JOBS ROUNDS: runs the steps of several cases in turn and prints the wall time of the timed ones.
// Build: gcc -O2 -o loop loop.c
//
// JOBS is a text file. "case NAME" opens a case; the lines after it are its steps, fields separated by tabs:
//	once ARGV...     before all rounds
//	before ARGV...   in each round, not timed
//	timed ARGV...    in each round, timed
//	after ARGV...    in each round, not timed, its status ignored
//	end ARGV...      after all rounds, its status ignored
// "sleep MS" and "gone NAME" may stand for ARGV: the second waits until the path NAME is gone.
// "{}" in a field becomes an id of the round and case, "{0}" that of "once". Each round runs every case, starting with another one.
// A case of which a step fails is left out from then on, with a line on stderr.
// Output: NAME ROUND NANOSECONDS. The commands' stdin and stdout are /dev/null, their stderr is ours.
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#define MAXCASE 64
#define MAXSTEP 16
#define MAXARG 48
extern char **environ;
struct step { const char *kind; char *arg[MAXARG]; int n; };
struct job { char *name; struct step step[MAXSTEP]; int n, failed; };
static struct job job[MAXCASE];
static int jobs;
static posix_spawn_file_actions_t files;

static void die(const char *what) { perror(what); exit(1); }

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1e9 + t.tv_nsec; }

static void parse(const char *path) {
	FILE *f = fopen(path, "r");
	if (!f) die(path);
	char *line = 0; size_t size = 0;
	while (getline(&line, &size, f) > 0) {
		line[strcspn(line, "\n")] = 0;
		char *word = strtok(strdup(line), "\t");
		if (!word) continue;
		if (!strcmp(word, "case")) {
			if (jobs == MAXCASE) { fprintf(stderr, "too many cases\n"); exit(1); }
			job[jobs++].name = strtok(0, "\t");
			continue;
		}
		struct job *j = &job[jobs - 1];
		if (!jobs || j->n == MAXSTEP) { fprintf(stderr, "bad line %s\n", line); exit(1); }
		struct step *s = &j->step[j->n++];
		s->kind = word;
		for (char *a; s->n < MAXARG - 1 && (a = strtok(0, "\t"));) s->arg[s->n++] = a;
	}
	fclose(f);
}

// fill replaces {} and {0} in src.
static void fill(char *dst, size_t size, const char *src, const char *id) {
	const char *at = strstr(src, "{}");
	if (!strcmp(src, "{0}")) { // the id with its last number replaced
		snprintf(dst, size, "%s", id);
		strcpy(strrchr(dst, '-'), "-0");
	} else if (at) snprintf(dst, size, "%.*s%s%s", (int)(at - src), src, id, at + 2);
	else snprintf(dst, size, "%s", src);
}

// run executes one step; returns its wait status, and the time in *ns.
static int run(struct step *s, const char *id, double *ns) {
	static char text[MAXARG][4096];
	char *arg[MAXARG];
	for (int i = 0; i < s->n; i++) { fill(text[i], sizeof text[i], s->arg[i], id); arg[i] = text[i]; }
	arg[s->n] = 0;
	if (s->n == 2 && !strcmp(arg[0], "sleep")) { usleep(atoi(arg[1]) * 1000); return 0; }
	if (s->n == 2 && !strcmp(arg[0], "gone")) {
		struct stat st;
		for (int i = 0; i < 5000; i++) { if (stat(arg[1], &st)) return 0; usleep(1000); }
		return 1;
	}
	pid_t p; int status;
	double start = now();
	if (posix_spawnp(&p, arg[0], &files, 0, arg, environ)) return -1;
	if (waitpid(p, &status, 0) < 0) return -1;
	*ns = now() - start;
	return status;
}

static void steps(struct job *j, int r, const char *kind) {
	char id[64];
	snprintf(id, sizeof id, "tongs-bench-%d-%d-%d", getpid(), (int)(j - job), r);
	for (int i = 0; i < j->n; i++) {
		struct step *s = &j->step[i];
		int careless = !strcmp(s->kind, "after") || !strcmp(s->kind, "end");
		if (kind ? strcmp(s->kind, kind) : (!strcmp(s->kind, "once") || !strcmp(s->kind, "end"))) continue;
		if (j->failed && !careless) continue;
		double ns = 0;
		int status = run(s, id, &ns);
		if (status && !careless) {
			fprintf(stderr, "%s: status %#x of %s %s in round %d: left out\n", j->name, status, s->kind, s->arg[0], r);
			j->failed = 1;
		} else if (r && !strcmp(s->kind, "timed")) {
			printf("%s\t%d\t%.0f\n", j->name, r, ns);
		}
		// Container processes that lost their parent come to us.
		while (waitpid(-1, 0, WNOHANG) > 0) {}
	}
}

int main(int c, char **v) {
	if (c != 3) { fprintf(stderr, "usage: loop JOBS ROUNDS\n"); return 2; }
	parse(v[1]);
	int rounds = atoi(v[2]);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
	for (int i = 0; i < jobs; i++) steps(&job[i], 0, "once");
	// Round 0 warms caches and is not printed.
	for (int r = 0; r <= rounds; r++)
		for (int i = 0; i < jobs; i++) {
			struct job *j = &job[(i + r) % jobs];
			if (!j->failed) steps(j, r, 0);
		}
	for (int i = 0; i < jobs; i++) steps(&job[i], 0, "end");
	return 0;
}
