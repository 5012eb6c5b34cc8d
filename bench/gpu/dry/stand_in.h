/* What the parts of the stand-in CUDA runtime share. */
#pragma once
#define _GNU_SOURCE
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

/* Bytes of the card's memory; pages are taken from the host when they are touched. */
#define TOTAL ((size_t)79 << 30)

/* An address's kind, as cudaMemoryType numbers them: 0 unknown, 1 pinned host memory, 2 device memory. */
int stand_in_type_of(const void *address);
/* A device attribute, by the number that the runtime and the driver share. */
int stand_in_attribute(int attribute);
/* A function of the stand-in driver; one that does nothing, if it has none of this name. */
void *stand_in_driver_symbol(const char *name);
