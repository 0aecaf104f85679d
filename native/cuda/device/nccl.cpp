#include "device/nccl.h"

#include <map>
#include <memory>
#include <mutex>

#if !defined(_WIN32)
#include <dlfcn.h>
#endif

namespace versemi {
namespace cuda {
namespace {

std::string text_of(int version) {
  // Before 2.9 the minor version had one digit less.
  const bool old = version < 10000;
  const int major = version / (old ? 1000 : 10000);
  const int minor = version % (old ? 1000 : 10000) / 100;
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(version % 100);
}

#if defined(_WIN32)

std::unique_ptr<nccl_functions> load(const std::string&, std::string* found) {
  *found = "Windows, for which there is no NCCL";
  return nullptr;
}

#else

template <typename Function>
bool look_up(void* library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  return *function != nullptr;
}

// The library stays open: NCCL has threads of its own.
std::unique_ptr<nccl_functions> load(const std::string& file, std::string* found) {
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* reason = dlerror();
    *found = reason == nullptr ? "a library that does not load" : reason;
    return nullptr;
  }
  auto functions = std::make_unique<nccl_functions>();
  nccl_functions& f = *functions;
  const char* missing = nullptr;
  const auto need = [&](const char* name, auto* function) {
    if (!look_up(library, name, function) && missing == nullptr) missing = name;
  };
  need("ncclGetVersion", &f.get_version);
  need("ncclGetUniqueId", &f.get_unique_id);
  need("ncclCommInitRank", &f.comm_init_rank);
  need("ncclCommDestroy", &f.comm_destroy);
  need("ncclCommAbort", &f.comm_abort);
  need("ncclCommGetAsyncError", &f.comm_get_async_error);
  need("ncclAllReduce", &f.all_reduce);
  need("ncclGetErrorString", &f.get_error_string);
  look_up(library, "ncclGetLastError", &f.get_last_error);
  if (f.get_version != nullptr && f.get_version(&f.version) == nccl_success && f.version < least_nccl_version) {
    *found = "NCCL " + f.version_text();
    return nullptr;
  }
  if (missing != nullptr) {
    *found = std::string("a library without ") + missing;
    return nullptr;
  }
  return functions;
}

#endif

}  // namespace

std::string nccl_functions::version_text() const { return text_of(version); }

std::string nccl_functions::error(int result) const {
  std::string text = get_error_string(result);
  const char* last = get_last_error == nullptr ? nullptr : get_last_error(nullptr);
  if (last != nullptr && last[0] != 0) text += std::string(" (") + last + ")";
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

const nccl_functions* open_nccl(const std::string& file, std::string* found) {
  static std::mutex mutex;
  static auto* const opened = new std::map<std::string, std::unique_ptr<nccl_functions>>;
  const std::lock_guard<std::mutex> held(mutex);
  std::unique_ptr<nccl_functions>& functions = (*opened)[file];
  if (functions == nullptr) functions = load(file, found);
  return functions.get();
}

}  // namespace cuda
}  // namespace versemi
