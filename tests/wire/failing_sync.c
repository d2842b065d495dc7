/*
 * A disk that cannot write what it has taken, for `aof_sync.rs`: loaded before the C library (LD_PRELOAD).
 *
 * While the file named by RUSSET_FAIL_SYNC exists, fsync and fdatasync of a regular file fail with EIO, and what was
 * written since the last one that worked is lost: it reads as zeros, as pages do that the system has given up.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    dev_t device;
    ino_t inode;
    off_t length;
} synced[FILES_MAX];
static int files;

/* How much of a file is on disk; what it is no longer, or was never told of, begins at 0. */
static off_t *synced_length(const struct stat *file) {
    int i;
    for (i = 0; i < files; i++)
        if (synced[i].device == file->st_dev && synced[i].inode == file->st_ino) return &synced[i].length;
    if (files == FILES_MAX) abort();
    synced[i].device = file->st_dev;
    synced[i].inode = file->st_ino;
    files++;
    return &synced[i].length;
}

static void lose(int fd, off_t from, off_t to) {
    static const char zeros[4096];
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    /* One of its own: what is written through one that appends goes to the end. */
    int file = open(path, O_WRONLY);
    while (file >= 0 && from < to) {
        size_t count = to - from < (off_t)sizeof zeros ? (size_t)(to - from) : sizeof zeros;
        ssize_t written = pwrite(file, zeros, count, from);
        if (written <= 0) abort();
        from += written;
    }
    if (file >= 0) close(file);
}

static int sync_with(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    const char *control = getenv("RUSSET_FAIL_SYNC");
    struct stat file;
    if (control == NULL || fstat(fd, &file) != 0 || !S_ISREG(file.st_mode)) return real(fd);
    pthread_mutex_lock(&lock);
    off_t *length = synced_length(&file);
    int result = -1;
    if (access(control, F_OK) == 0) {
        lose(fd, *length < file.st_size ? *length : file.st_size, file.st_size);
        errno = EIO;
    } else {
        result = real(fd);
        if (result == 0) *length = file.st_size;
    }
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

int fsync(int fd) { return sync_with("fsync", fd); }
int fdatasync(int fd) { return sync_with("fdatasync", fd); }
