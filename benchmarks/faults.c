/* Counts the file operations of a process below one folder, and injects a fault at a chosen one.
 *
 * Loaded by LD_PRELOAD into the server of faults.py, so that it sees the writes of Python, SQLite and
 * safetensors alike. Counted are opening for writing, write, sync, truncate, rename, remove and mkdir.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { COUNT, KILL, HALF, ERROR, SIGNAL };

static char root[PATH_MAX];
static size_t root_length;
static pid_t armed;
static long chosen, done;
static int action, value, log_file = -1;

/* Inject the fault at operation `at` of this process below `folder`; log each operation in a line. */
void faults_arm(const char *folder, long at, int kind, int number, int log)
{
    strncpy(root, folder, PATH_MAX - 1);
    root_length = strlen(root);
    chosen = at, action = kind, value = number, log_file = log;
    done = 0;
    armed = getpid();
}

static int below(int folder, const char *path)
{
    char link[64], name[PATH_MAX];
    ssize_t length;
    if (path && path[0] == '/')
        return strncmp(path, root, root_length) == 0;
    if (folder == AT_FDCWD)
        return 1; /* the working directory of the process */
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    length = readlink(link, name, sizeof name - 1);
    return length > 0 && strncmp(name, root, root_length) == 0;
}

/* 0: continue; 1: fail with errno; 2: write half, then die. */
static int struck(const char *call, int folder, const char *path)
{
    char line[PATH_MAX + 64], link[64], name[PATH_MAX];
    int saved = errno, verdict = 0;
    long number;
    if (armed == 0 || armed != getpid() || !below(folder, path)) {
        errno = saved;
        return 0;
    }
    if (!path) {
        ssize_t length;
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        length = readlink(link, name, sizeof name - 1);
        name[length > 0 ? length : 0] = 0;
        path = name;
    }
    number = __sync_add_and_fetch(&done, 1);
    snprintf(line, sizeof line, "%ld %s %s\n", number, call, path);
    syscall(SYS_write, log_file, line, strlen(line));
    errno = saved;
    if (number != chosen)
        return 0;
    if (action == KILL || (action == HALF && strcmp(call, "write") != 0))
        syscall(SYS_kill, getpid(), SIGKILL);
    if (action == HALF)
        verdict = 2;
    if (action == SIGNAL)
        syscall(SYS_kill, getpid(), value);
    if (action == ERROR) {
        errno = value;
        verdict = 1;
    }
    return verdict;
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) \
        real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

#define OPEN(name, text) \
    int name(const char *path, int flags, ...) \
    { \
        REAL(int, text, const char *, int, ...); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = va_arg(rest, mode_t); \
        va_end(rest); \
        if ((flags & O_ACCMODE) != O_RDONLY && struck("open", AT_FDCWD, path)) \
            return -1; \
        return real(path, flags, mode); \
    }
OPEN(open, "open")
OPEN(open64, "open64")

#define WRITE(name, text, more, pass) \
    ssize_t name(int file, const void *bytes, size_t count more) \
    { \
        REAL(ssize_t, text, int, const void *, size_t more); \
        int verdict = struck("write", file, 0); \
        if (verdict == 1) \
            return -1; \
        if (verdict == 2) { \
            count /= 2; \
            real(file, bytes, count pass); \
            syscall(SYS_kill, getpid(), SIGKILL); \
        } \
        return real(file, bytes, count pass); \
    }
#define COMMA ,
WRITE(write, "write", , )
WRITE(pwrite, "pwrite", COMMA off_t offset, COMMA offset)
WRITE(pwrite64, "pwrite64", COMMA off64_t offset, COMMA offset)

#define BY_FILE(name, call, parameters, pass) \
    int name(int file parameters) \
    { \
        REAL(int, #name, int parameters); \
        return struck(call, file, 0) ? -1 : real(file pass); \
    }
BY_FILE(fsync, "fsync", , )
BY_FILE(fdatasync, "fsync", , )
BY_FILE(ftruncate, "truncate", COMMA off_t length, COMMA length)
BY_FILE(ftruncate64, "truncate", COMMA off64_t length, COMMA length)

#define BY_PATH(name, call, parameters, pass) \
    int name(const char *path parameters) \
    { \
        REAL(int, #name, const char *parameters); \
        return struck(call, AT_FDCWD, path) ? -1 : real(path pass); \
    }
BY_PATH(unlink, "unlink", , )
BY_PATH(rmdir, "rmdir", , )
BY_PATH(mkdir, "mkdir", COMMA mode_t mode, COMMA mode)
BY_PATH(truncate, "truncate", COMMA off_t length, COMMA length)
BY_PATH(truncate64, "truncate", COMMA off64_t length, COMMA length)

int unlinkat(int folder, const char *path, int flags)
{
    REAL(int, "unlinkat", int, const char *, int);
    return struck("unlink", folder, path) ? -1 : real(folder, path, flags);
}

int rename(const char *old, const char *path)
{
    REAL(int, "rename", const char *, const char *);
    return struck("rename", AT_FDCWD, path) ? -1 : real(old, path);
}
