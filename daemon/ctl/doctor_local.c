/* What doctor finds on this machine; see doctor.h. What it knows of the daemon's settings it has from
 * `redd --check`, so that nobody reads the configuration twice. */
#include "daemon/ctl/doctor.h"

#include "core/buf.h"
#include "core/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pwd.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_OUTPUT_BYTES (1u << 20)
#define FACT_SIZE 512
#define SPACE_FAILED ((uint64_t)64 << 20)
#define SPACE_WARNING ((uint64_t)1 << 30)

/* ---- running a program ---- */

/* *pid is a child whose outputs both go to `out`. */
static int start_child(const char *const *argv, int out, pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	int error;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, out, STDERR_FILENO);
	error = posix_spawnp(pid, argv[0], &actions, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return error;
}

enum err doctor_run(const char *const *argv, char **text, int *status)
{
	struct buf b = {0};
	char piece[4096];
	enum err e = OK;
	int ends[2], code = 0, error;
	ssize_t n;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return ERR_NOT_FOUND;
	error = start_child(argv, ends[1], &pid);
	close(ends[1]);
	while (!error && !e && b.len < MAX_OUTPUT_BYTES && (n = read(ends[0], piece, sizeof(piece))) > 0)
		e = buf_append(&b, piece, (size_t)n);
	close(ends[0]);
	if (error || waitpid(pid, &code, 0) < 0)
		e = e ? e : ERR_NOT_FOUND;
	if (!e) {
		*text = mem_strdup(b.len ? b.data : "");
		*status = WIFEXITED(code) ? WEXITSTATUS(code) : 128 + WTERMSIG(code);
		e = *text ? OK : ERR_MEM;
	}
	buf_fini(&b);
	return e;
}

/* ---- program, configuration, base ---- */

/* The last line that redd wrote: its reason. */
static void last_words(const char *text, char *words, size_t size)
{
	size_t end = strlen(text), start;

	while (end && text[end - 1] == '\n')
		end--;
	for (start = end; start && text[start - 1] != '\n'; start--)
		;
	if (strncmp(text + start, "redd: ", 6) == 0)
		start += 6;
	snprintf(words, size, "%.*s", (int)(end - start), text + start);
}

static void note_version(struct doctor *d, const char *redd)
{
	char version[FACT_SIZE];

	if (!doctor_fact(d, "version", version, sizeof(version)))
		return;
	doctor_note(d, "program", strcmp(version, REDD_VERSION) == 0 ? DOCTOR_OK : DOCTOR_WARNING,
	        "install redd and redctl of one version", "%s is redd %s, this is redctl " REDD_VERSION, redd,
	        version);
}

static void note_base(struct doctor *d, int status, const char *words)
{
	char base[FACT_SIZE], family[FACT_SIZE], n_params[FACT_SIZE], model[FACT_SIZE], kernels[FACT_SIZE];

	if (status) {
		doctor_note(d, "model", DOCTOR_FAILED,
		        "name a complete Hugging Face directory with model= in the configuration", "%s",
		        words);
		return;
	}
	if (doctor_fact(d, "base", base, sizeof(base)) && doctor_fact(d, "family", family, sizeof(family)) &&
	        doctor_fact(d, "parameters", n_params, sizeof(n_params)) &&
	        doctor_fact(d, "model", model, sizeof(model)))
		doctor_note(d, "model", DOCTOR_OK, NULL, "%.80s, %.20s, %.20s parameters, in %.200s", base,
		        family, n_params, model);
	if (doctor_fact(d, "kernels", kernels, sizeof(kernels)))
		doctor_note(d, "kernels", strcmp(kernels, "portable") == 0 ? DOCTOR_WARNING : DOCTOR_OK,
		        "a processor with AVX2 or AVX-512 is many times as fast", "%.100s", kernels);
}

void doctor_check_program(struct doctor *d, const char *redd, const char *config)
{
	const char *argv[] = {redd, "--check", config ? "--config" : NULL, config, NULL};
	char words[FACT_SIZE], file[FACT_SIZE];
	int status = 0;
	enum err e = doctor_run(argv, &d->facts, &status);

	if (e) {
		doctor_note(d, "program", DOCTOR_FAILED, "install redd, or say where it is with --redd FILE",
		        "%s cannot be run", redd);
		return;
	}
	note_version(d, redd);
	last_words(d->facts, words, sizeof(words));
	if (!doctor_fact(d, "version", file, sizeof(file))) {
		doctor_note(d, "configuration", DOCTOR_FAILED, "mend that line; redd --help lists the keys",
		        "%s", words);
		return;
	}
	if (doctor_fact(d, "config", file, sizeof(file)))
		doctor_note(d, "configuration", DOCTOR_OK, NULL, "%s", *file ? file : "built-in values");
	note_base(d, status, words);
}

/* ---- state ---- */

static void note_space(struct doctor *d, const char *dir)
{
	struct statvfs fs;
	uint64_t bytes;

	if (statvfs(dir, &fs) < 0)
		return;
	bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	doctor_note(d, "space",
	        bytes < SPACE_FAILED    ? DOCTOR_FAILED
	        : bytes < SPACE_WARNING ? DOCTOR_WARNING
	                                : DOCTOR_OK,
	        "make room there, or move the state", "%llu MiB free in %s",
	        (unsigned long long)(bytes >> 20), dir);
}

void doctor_check_state(struct doctor *d)
{
	char dir[FACT_SIZE], mend[sizeof(d->checks[0].mend)];
	const struct passwd *owner;
	struct stat st;

	if (!doctor_fact(d, "state", dir, sizeof(dir)))
		return;
	if (stat(dir, &st) < 0) {
		if (errno == ENOENT)
			doctor_note(d, "state", DOCTOR_SKIPPED, "the first start makes it",
			        "%s is not there yet", dir);
		else
			doctor_note(d, "state", errno == EACCES ? DOCTOR_SKIPPED : DOCTOR_FAILED,
			        "run redctl doctor as root", "%s: %s", dir, strerror(errno));
		return;
	}
	owner = getpwuid(st.st_uid);
	snprintf(mend, sizeof(mend), "chmod 700 %.300s", dir);
	if (!S_ISDIR(st.st_mode))
		doctor_note(d, "state", DOCTOR_FAILED, "move it away", "%s is no directory", dir);
	else if (geteuid() != 0 && st.st_uid != geteuid())
		doctor_note(d, "state", DOCTOR_WARNING,
		        "a redd that you start yourself needs a state directory of its own: --state DIR",
		        "%s belongs to %s", dir, owner ? owner->pw_name : "somebody else");
	else
		doctor_note(d, "state", st.st_mode & 077 ? DOCTOR_FAILED : DOCTOR_OK, mend,
		        "%s, mode %04o, of %s", dir, st.st_mode & 07777,
		        owner ? owner->pw_name : "a dynamic user");
	note_space(d, dir);
}

void doctor_check_admin_key(struct doctor *d)
{
	char file[FACT_SIZE], auth[FACT_SIZE], mend[sizeof(d->checks[0].mend)];
	struct stat st;

	if (!doctor_fact(d, "admin-key", file, sizeof(file)))
		return;
	if (doctor_fact(d, "auth", auth, sizeof(auth)) && strcmp(auth, "no") == 0) {
		doctor_note(d, "admin key", DOCTOR_WARNING, "set no-auth = no for anything but trying out",
		        "everyone who reaches the port is let in (no-auth)");
		return;
	}
	if (stat(file, &st) < 0) {
		doctor_note(d, "admin key", DOCTOR_SKIPPED,
		        errno == ENOENT ? "the first start writes it, unless systemd passes a credential"
		                        : "run redctl doctor as root",
		        "%s: %s", file, strerror(errno));
		return;
	}
	snprintf(mend, sizeof(mend), "chmod 600 %.300s, and use a new key if others may have read it", file);
	doctor_note(d, "admin key", st.st_mode & 077 ? DOCTOR_FAILED : DOCTOR_OK, mend, "%s, mode %04o", file,
	        st.st_mode & 07777);
}

/* ---- systemd ---- */

static void systemctl(const char *verb, char word[64])
{
	const char *const argv[] = {"systemctl", verb, "redd.service", NULL};
	char *text = NULL;
	int status;

	snprintf(word, 64, "unknown");
	if (doctor_run(argv, &text, &status) == OK)
		snprintf(word, 64, "%.*s", (int)strcspn(text, "\n"), text);
	mem_free(text);
}

void doctor_check_unit(struct doctor *d)
{
	char enabled[64], active[64];
	bool good;

	if (access("/run/systemd/system", F_OK) < 0) {
		doctor_note(d, "unit", DOCTOR_SKIPPED, NULL, "systemd does not run here");
		return;
	}
	systemctl("is-enabled", enabled);
	systemctl("is-active", active);
	good = strcmp(enabled, "enabled") == 0 && strcmp(active, "active") == 0;
	doctor_note(d, "unit",
	        good                            ? DOCTOR_OK
	        : strcmp(active, "failed") == 0 ? DOCTOR_FAILED
	        : strcmp(active, "active") == 0 ? DOCTOR_WARNING
	                                        : DOCTOR_SKIPPED,
	        strcmp(active, "failed") == 0 ? "journalctl -u redd says why; systemctl restart redd"
	                                      : "systemctl enable --now redd",
	        "redd.service is %s and %s", enabled, active);
}

/* ---- the port ---- */

/* Try to bind where redd would; the error's number, 0 when it works. */
static int try_bind(const char *listen_at)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	struct addrinfo *all = NULL;
	char host[FACT_SIZE];
	char *colon, *name = host;
	int fd, yes = 1, error = 0;

	snprintf(host, sizeof(host), "%s", listen_at);
	colon = strrchr(host, ':');
	if (!colon)
		return EINVAL;
	*colon = '\0';
	if (*name == '[') {
		name++;
		colon[-1] = '\0';
	}
	if (getaddrinfo(name, colon + 1, &hints, &all) != 0)
		return EADDRNOTAVAIL;
	fd = socket(all->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0 ||
	        bind(fd, all->ai_addr, all->ai_addrlen) < 0)
		error = errno;
	if (fd >= 0)
		close(fd);
	freeaddrinfo(all);
	return error;
}

void doctor_check_port(struct doctor *d)
{
	char at[FACT_SIZE];
	int error;

	if (!doctor_fact(d, "listen", at, sizeof(at)))
		return;
	error = try_bind(at);
	if (!error)
		doctor_note(d, "port", DOCTOR_OK, NULL, "%s is free", at);
	else if (error == EADDRINUSE)
		doctor_note(d, "port", DOCTOR_FAILED,
		        "stop what listens there (ss -ltnp names it), or choose another port with listen=",
		        "%s is in use, and not by a redd that answers at --url", at);
	else
		doctor_note(d, "port", DOCTOR_FAILED,
		        "choose an address of this machine with listen=", "%s: %s", at, strerror(error));
}
