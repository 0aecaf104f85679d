#include "dot_products.h"

#include <cstdlib>
#include <cstring>
#include <initializer_list>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace versemi {
namespace {

// Linux gives a process the registers of the tiles (8 KiB more to save per thread) only when it asks: "Using XSTATE features
// in user space applications", Documentation/arch/x86/xstate.rst.
bool permits_tiles() {
#if defined(__linux__) && defined(__x86_64__) && defined(SYS_arch_prctl)
  constexpr long request_permission = 0x1023, tile_data = 18;
  static const bool permitted = syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
  return permitted;
#else
  return false;
#endif
}

#if defined(__x86_64__)
// Bits of CPUID leaf 7, which not every compiler knows by name. That the system saves the vectors is asked by dispatch.cpp.
struct features {
  bool avx512_vnni = false, avx_vnni = false, avx512_bf16 = false, amx_tile = false, amx_bf16 = false, amx_int8 = false;
  features() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return;
    avx512_vnni = (ecx >> 11 & 1) != 0;
    amx_bf16 = (edx >> 22 & 1) != 0;
    amx_tile = (edx >> 24 & 1) != 0;
    amx_int8 = (edx >> 25 & 1) != 0;
    if (eax < 1 || !__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx)) return;
    avx_vnni = (eax >> 4 & 1) != 0;
    avx512_bf16 = (eax >> 5 & 1) != 0;
  }
};
#endif

bool processor_has(dot_path path, operand_precision precision) {
#if defined(__x86_64__)
  static const features has;
  const bool whole = precision == operand_precision::int8;
  switch (path) {
    case dot_path::portable: return true;
    case dot_path::avx_vnni: return whole && has.avx_vnni;
    case dot_path::avx512_vnni: return whole && has.avx512_vnni;
    case dot_path::avx512_bf16: return !whole && has.avx512_bf16;
    case dot_path::amx: return has.amx_tile && (whole ? has.amx_int8 : has.amx_bf16) && permits_tiles();
  }
#endif
  (void)precision;
  return path == dot_path::portable;
}

// Best path that VERSEMI_DOT allows.
dot_path most_allowed() {
  static const dot_path most = [] {
    const char* wanted = std::getenv("VERSEMI_DOT");
    if (wanted != nullptr && std::strcmp(wanted, "portable") == 0) return dot_path::portable;
    if (wanted != nullptr && std::strcmp(wanted, "vector") == 0) return dot_path::avx512_bf16;
    return dot_path::amx;
  }();
  return most;
}

bool has_dot_path(dot_path path, operand_precision precision) {
  return path <= most_allowed() && processor_has(path, precision);
}

}  // namespace

dot_path choose_dot_path(const versemi_context* context, const char* instruction_set) {
  const operand_precision precision = precision_of(context);
  const auto first = [&](std::initializer_list<dot_path> paths) {
    for (dot_path path : paths)
      if (path <= dot_path_limit(context) && has_dot_path(path, precision)) return path;
    return dot_path::portable;
  };
  if (std::strcmp(instruction_set, "avx512") == 0)
    return first({dot_path::amx, dot_path::avx512_bf16, dot_path::avx512_vnni});
  if (std::strcmp(instruction_set, "avx2") == 0) return first({dot_path::avx_vnni});
  return dot_path::portable;
}

const char* name_of(dot_path path) {
  switch (path) {
    case dot_path::amx: return "AMX";
    case dot_path::avx512_bf16: return "AVX512_BF16";
    case dot_path::avx512_vnni: return "AVX512_VNNI";
    case dot_path::avx_vnni: return "AVX-VNNI";
    case dot_path::portable: break;
  }
  return "portable";
}

}  // namespace versemi
