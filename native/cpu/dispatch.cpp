#include "dispatch.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace versemi {
namespace {

struct instruction_set_entry {
  const char* name;
  bool (*available)();
  void (*append)(std::vector<versemi_kernel>& table);
};

void append_rows(std::vector<versemi_kernel>& table, kernel_rows rows) {
  table.insert(table.end(), rows.rows, rows.rows + rows.count);
}

#define VERSEMI_APPEND_FAMILY(name) append_rows(table, VERSEMI_NAMESPACE::name##_kernels());
#if defined(VERSEMI_WIDE_SETS)
#define VERSEMI_NAMESPACE avx512
void append_avx512(std::vector<versemi_kernel>& table){VERSEMI_KERNEL_FAMILIES(VERSEMI_APPEND_FAMILY)}
#undef VERSEMI_NAMESPACE
#define VERSEMI_NAMESPACE avx2
void append_avx2(std::vector<versemi_kernel>& table) {
  VERSEMI_KERNEL_FAMILIES(VERSEMI_APPEND_FAMILY)
}
#undef VERSEMI_NAMESPACE

// The builtin asks the operating system too (XGETBV), not only the processor.
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma");
}
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif
#define VERSEMI_NAMESPACE baseline
void append_baseline(std::vector<versemi_kernel>& table) { VERSEMI_KERNEL_FAMILIES(VERSEMI_APPEND_FAMILY) }
#undef VERSEMI_NAMESPACE
bool always() { return true; }

const instruction_set_entry entries[] = {
#if defined(VERSEMI_WIDE_SETS)
    {"avx512", has_avx512, append_avx512},
    {"avx2", has_avx2, append_avx2},
#endif
    {"baseline", always, append_baseline},
};
constexpr std::size_t entry_count = sizeof entries / sizeof entries[0];

std::vector<versemi_kernel> make_table(const instruction_set_entry& entry) {
  std::vector<versemi_kernel> table;
  entry.append(table);
  // Stable: within one op the order of preference stays.
  std::stable_sort(table.begin(), table.end(),
                   [](const versemi_kernel& a, const versemi_kernel& b) { return a.op < b.op; });
  return table;
}

}  // namespace

const char* const* available_instruction_sets() {
  static const std::vector<const char*> names = [] {
    std::vector<const char*> list;
    for (const instruction_set_entry& entry : entries)
      if (entry.available()) list.push_back(entry.name);
    list.push_back(nullptr);
    return list;
  }();
  return names.data();
}

const versemi_kernel* kernels_for(const char* instruction_set, int32_t* count) {
  static std::vector<versemi_kernel> tables[entry_count];
  static const bool made = [] {
    for (std::size_t i = 0; i < entry_count; i++)
      if (entries[i].available()) tables[i] = make_table(entries[i]);
    return true;
  }();
  (void)made;
  for (std::size_t i = 0; i < entry_count; i++)
    if (!tables[i].empty() && std::strcmp(entries[i].name, instruction_set) == 0) {
      *count = static_cast<int32_t>(tables[i].size());
      return tables[i].data();
    }
  *count = 0;
  return nullptr;
}

const char* instruction_set() {
  static const char* const chosen = [] {
    const char* const* available = available_instruction_sets();
    const char* wanted = std::getenv("VERSEMI_ISA");
    if (wanted == nullptr) return available[0];
    // A processor without the wanted set, or an unknown name: the best one that is there.
    for (const char* const* name = available; *name != nullptr; name++)
      if (std::strcmp(*name, wanted) == 0) return *name;
    return available[0];
  }();
  return chosen;
}

}  // namespace versemi

extern "C" const versemi_kernel* versemi_cpu_kernels(int32_t* count) {
  return versemi::kernels_for(versemi::instruction_set(), count);
}
