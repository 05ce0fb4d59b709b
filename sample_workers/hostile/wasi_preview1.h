/* Every function of WASI preview 1, declared as an import, for a guest that calls them all. The types are
 * those of wasi_snapshot_preview1.witx, lowered to core types. */
#pragma once
#include <stdint.h>

#define I int32_t
#define L int64_t
/* X(name, parameter types, arguments that are harmless when the host checks them) */
#define WASI_FUNCTIONS(X)                                                          \
    X(args_get, (I, I), (room, room))                                              \
    X(args_sizes_get, (I, I), (room, room))                                        \
    X(environ_get, (I, I), (room, room))                                           \
    X(environ_sizes_get, (I, I), (room, room))                                     \
    X(clock_res_get, (I, I), (0, room))                                            \
    X(clock_time_get, (I, L, I), (0, 0, room))                                     \
    X(fd_advise, (I, L, L, I), (3, 0, 0, 0))                                       \
    X(fd_allocate, (I, L, L), (3, 0, 0))                                           \
    X(fd_close, (I), (3))                                                          \
    X(fd_datasync, (I), (3))                                                       \
    X(fd_fdstat_get, (I, I), (1, room))                                            \
    X(fd_fdstat_set_flags, (I, I), (1, 0))                                         \
    X(fd_fdstat_set_rights, (I, L, L), (1, 0, 0))                                  \
    X(fd_filestat_get, (I, I), (1, room))                                          \
    X(fd_filestat_set_size, (I, L), (3, 0))                                        \
    X(fd_filestat_set_times, (I, L, L, I), (3, 0, 0, 0))                           \
    X(fd_pread, (I, I, I, L, I), (3, room, 0, 0, room))                            \
    X(fd_prestat_get, (I, I), (3, room))                                           \
    X(fd_prestat_dir_name, (I, I, I), (3, room, 8))                                \
    X(fd_pwrite, (I, I, I, L, I), (3, room, 0, 0, room))                           \
    X(fd_read, (I, I, I, I), (0, room, 0, room))                                   \
    X(fd_readdir, (I, I, I, L, I), (3, room, 8, 0, room))                          \
    X(fd_renumber, (I, I), (3, 4))                                                 \
    X(fd_seek, (I, L, I, I), (1, 0, 0, room))                                      \
    X(fd_sync, (I), (3))                                                           \
    X(fd_tell, (I, I), (1, room))                                                  \
    X(fd_write, (I, I, I, I), (1, vector, 1, room))                                \
    X(path_create_directory, (I, I, I), (3, room, 1))                              \
    X(path_filestat_get, (I, I, I, I, I), (3, 0, room, 1, room))                   \
    X(path_filestat_set_times, (I, I, I, I, L, L, I), (3, 0, room, 1, 0, 0, 0))    \
    X(path_link, (I, I, I, I, I, I, I), (3, 0, room, 1, 3, room, 1))               \
    X(path_open, (I, I, I, I, I, L, L, I, I), (3, 0, room, 1, 0, 0, 0, 0, room))   \
    X(path_readlink, (I, I, I, I, I, I), (3, room, 1, room, 1, room))              \
    X(path_remove_directory, (I, I, I), (3, room, 1))                              \
    X(path_rename, (I, I, I, I, I, I), (3, room, 1, 3, room, 1))                   \
    X(path_symlink, (I, I, I, I, I), (room, 1, 3, room, 1))                        \
    X(path_unlink_file, (I, I, I), (3, room, 1))                                   \
    X(poll_oneoff, (I, I, I, I), (room, room, 0, room))                            \
    X(proc_raise, (I), (0))                                                        \
    X(sched_yield, (void), ())                                                     \
    X(random_get, (I, I), (room, 8))                                               \
    X(sock_accept, (I, I, I), (3, 0, room))                                        \
    X(sock_recv, (I, I, I, I, I, I), (3, room, 0, 0, room, room))                  \
    X(sock_send, (I, I, I, I, I), (3, room, 0, 0, room))                           \
    X(sock_shutdown, (I, I), (3, 0))

#define WASI_IMPORT(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name)))
#define WASI_DECLARE(name, types, arguments) WASI_IMPORT(name) I wasi_##name types;
WASI_FUNCTIONS(WASI_DECLARE)
WASI_IMPORT(proc_exit) void wasi_proc_exit(I code);
#undef WASI_DECLARE
