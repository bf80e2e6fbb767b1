#pragma once
// Plug-in loader of the Harness kernel [Engelmann & Geist, lightweight kernel, §2.3], shared by all programs
// that load components.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "mvm/base/result.h"

namespace mvm {

inline constexpr std::uint32_t kPluginMagic = 0x4d564d50;  // "MVMP"

/// The compiler's own interface that both sides must share: plug-ins exchange C++ objects with their program.
inline constexpr std::uint32_t kPluginAbi = (201U << 16)
#if defined(__GXX_ABI_VERSION)
                                            | (__GXX_ABI_VERSION & 0x0fffU)
#endif
#if defined(_GLIBCXX_USE_CXX11_ABI) && _GLIBCXX_USE_CXX11_ABI
                                            | 0x8000U
#endif
    ;

extern "C" {
/// What every plug-in exports, under the name `mvm_plugin`. Constant data: nothing of the plug-in runs before
/// its fields were checked, except static constructors, of which it has none.
struct MvmPluginDescriptor {
  std::uint32_t magic;        ///< kPluginMagic
  std::uint32_t abi_version;  ///< kPluginAbi
  const char* kind;           ///< what it plugs into: "kernel", ...
  std::uint32_t api_version;  ///< of that kind's interface
  const char* name;           ///< the plug-in's own name, that of its file
  const char* version;        ///< "1.0.0"
  int (*init)();              ///< may be null; once after loading; not 0: refuse to load
  void (*fini)();             ///< may be null; once before unloading
  void* (*create)();          ///< an object of the kind's class; null where it cannot
  void (*destroy)(void*);     ///< destroys what create() made
};
}

/// Who plugs in, as listed.
struct PluginInfo {
  std::string name;
  std::string version;
  std::string owner;
  std::filesystem::path file;
};

/// A loaded plug-in. While it lives the library stays mapped; destroying the last owner's one calls fini()
/// and unmaps it.
class LoadedPlugin {
 public:
  ~LoadedPlugin();
  LoadedPlugin(const LoadedPlugin&) = delete;
  LoadedPlugin& operator=(const LoadedPlugin&) = delete;

  [[nodiscard]] const MvmPluginDescriptor& descriptor() const;
  [[nodiscard]] const PluginInfo& info() const;
  /// The address of another symbol of the library; null where it has none [§2.3, "dlsym"].
  [[nodiscard]] void* symbol(const char* name) const;

  /// An object made by the plug-in's create(); it keeps the library mapped. Null where create() answers null.
  template <class T>
  [[nodiscard]] static std::shared_ptr<T> make(const std::shared_ptr<LoadedPlugin>& plugin) {
    void* object = plugin->descriptor().create != nullptr ? plugin->descriptor().create() : nullptr;
    if (object == nullptr) return nullptr;
    return std::shared_ptr<T>(static_cast<T*>(object),
                              [plugin](T* dead) { plugin->descriptor().destroy(dead); });
  }

 private:
  friend class PluginLoader;
  struct State;
  explicit LoadedPlugin(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Loads plug-ins of one kind from one preset folder and the folders below it. Thread-safe, re-entrant:
/// init() may load others.
class PluginLoader {
 public:
  struct Options {
    std::filesystem::path folder;  ///< the preset folder
    std::string kind;
    std::uint32_t api_version = 1;
  };
  explicit PluginLoader(Options options) : options_(std::move(options)) {}

  /// Loads `<folder>/<name>.so`. `name` may have folders ("policies/pack"); links and ".." are refused, and
  /// so is a file that others than its owner (root or us) may write. kNotFound, kRefused, kUnsupported (kind,
  /// version or compiler differ), kCorrupt (no plug-in). Symbols stay private (RTLD_LOCAL).
  [[nodiscard]] Result<std::shared_ptr<LoadedPlugin>> load(const std::string& name,
                                                           const std::string& owner) const;
  /// Names that could be loaded, sorted.
  [[nodiscard]] std::vector<std::string> available() const;

 private:
  Options options_;
};

}  // namespace mvm
