#pragma once
#include <spawn.h>

// glibc has it since 2.34; its header shows it to GNU sources only, which Swift's are not.
int posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t *, int);
