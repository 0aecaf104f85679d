// A library that answers as NCCL does and sums on the host, for tests without GPUs: built as libnccl.so.2 and opened by the emulated
// device. The ranks meet in shared memory; a sum is work of a stream of the emulator, which goes on while it waits for other ranks. Not
// part of the package.
//
//   c++ -std=c++17 -O2 -fPIC -shared nccl_stub.cpp -o libnccl.so.2 -lrt -ldl
//   -DSTUB_VERSION=2804    another version
//   -DSTUB_REFUSES         ncclCommInitRank fails, as for two ranks on one GPU
//
// VERSEMI_ADDON names the addon with the emulator, whose streams take the work.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#ifndef STUB_VERSION
#define STUB_VERSION 22105
#endif

namespace {

constexpr int largest_size = 8;
constexpr long chunk = 16384;  // elements that a rank shows the others at a time
constexpr int success = 0, system_error = 2, invalid_argument = 4, invalid_usage = 5;

// Zero when it is made. A rank counts the chunks that it has shown, and those that it has summed.
struct shared_state {
  std::atomic<int> arrived;
  std::atomic<long> shown[largest_size], summed[largest_size];
  float values[largest_size][chunk];
};

struct communicator {
  shared_state* shared;
  int rank, size;
  std::atomic<bool> aborted{false};
};

struct sum {
  communicator* of;
  float* values;
  long count, at = 0;
  bool showing = true;
};

void nap() {
  const timespec time = {0, 100000};
  nanosleep(&time, nullptr);
}

bool all_have(const communicator& c, const std::atomic<long>* counts, long least) {
  for (int rank = 0; rank < c.size; rank++)
    if (counts[rank].load() < least) return false;
  return true;
}

// As far as it goes without waiting. 0: to be called again.
int go_on(void* argument) {
  sum* s = static_cast<sum*>(argument);
  communicator& c = *s->of;
  shared_state& shared = *c.shared;
  while (s->at < s->count && !c.aborted) {
    const long count = std::min(chunk, s->count - s->at);
    if (s->showing) {
      // What was shown before must have been read by all.
      if (!all_have(c, shared.summed, shared.shown[c.rank].load())) return 0;
      std::memcpy(shared.values[c.rank], s->values + s->at, static_cast<size_t>(count) * sizeof(float));
      shared.shown[c.rank]++;
      s->showing = false;
    }
    if (!all_have(c, shared.shown, shared.shown[c.rank].load())) return 0;
    // In float32 and another order than that of the ranks, as along a ring that begins somewhere.
    for (long i = 0; i < count; i++) {
      float total = 0;
      for (int step = 1; step <= c.size; step++) total += shared.values[step % c.size][i];
      s->values[s->at + i] = total;
    }
    shared.summed[c.rank]++;
    s->showing = true;
    s->at += count;
  }
  delete s;
  return 1;
}

using enqueue_function = int (*)(void* stream, int (*work)(void*), void* argument);

enqueue_function enqueue() {
  const char* file = std::getenv("VERSEMI_ADDON");
  void* addon = file == nullptr ? nullptr : dlopen(file, RTLD_LAZY | RTLD_NOLOAD);
  return addon == nullptr ? nullptr : reinterpret_cast<enqueue_function>(dlsym(addon, "versemi_emulated_enqueue"));
}

}  // namespace

struct ncclUniqueId {
  char internal[128];
};

extern "C" {

int ncclGetVersion(int* version) {
  *version = STUB_VERSION;
  return success;
}

const char* ncclGetErrorString(int result) {
  switch (result) {
    case success: return "no error";
    case system_error: return "unhandled system error";
    case invalid_usage: return "invalid usage";
    default: return "invalid argument";
  }
}

const char* ncclGetLastError(void*) {
#ifdef STUB_REFUSES
  return "Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 1000\n";
#else
  return "";
#endif
}

int ncclGetUniqueId(ncclUniqueId* id) {
  static int made = 0;
  std::memset(id, 0, sizeof *id);
  std::snprintf(id->internal, sizeof id->internal, "/versemi-nccl-stub-%d-%d", static_cast<int>(getpid()), made++);
  return success;
}

int ncclCommInitRank(communicator** made, int size, ncclUniqueId id, int rank) {
#ifdef STUB_REFUSES
  return invalid_usage;
#endif
  if (size > largest_size || rank < 0 || rank >= size) return invalid_argument;
  const int file = shm_open(id.internal, O_CREAT | O_RDWR, 0600);
  if (file < 0 || ftruncate(file, sizeof(shared_state)) != 0) return system_error;
  void* memory = mmap(nullptr, sizeof(shared_state), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) return system_error;
  auto* c = new communicator;
  c->shared = static_cast<shared_state*>(memory);
  c->rank = rank;
  c->size = size;
  c->shared->arrived++;
  while (c->shared->arrived < size) nap();
  // Everybody has it: the memory goes with the last of them.
  if (rank == 0) shm_unlink(id.internal);
  *made = c;
  return success;
}

int ncclCommDestroy(communicator* c) {
  munmap(c->shared, sizeof(shared_state));
  delete c;
  return success;
}

// Kept: work that is under way looks at it.
int ncclCommAbort(communicator* c) {
  c->aborted = true;
  return success;
}

int ncclCommGetAsyncError(communicator*, int* result) {
  *result = success;
  return success;
}

int ncclAllReduce(const void* from, void* to, size_t count, int type, int operation, communicator* c, void* stream) {
  if (from != to || type != 7 || operation != 0) return invalid_argument;
  const enqueue_function put = enqueue();
  if (put == nullptr) return invalid_usage;
  auto* work = new sum;
  work->of = c;
  work->values = static_cast<float*>(to);
  work->count = static_cast<long>(count);
  return put(stream, go_on, work) == 0 ? success : system_error;
}

}  // extern "C"
