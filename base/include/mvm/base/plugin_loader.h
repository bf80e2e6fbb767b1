#pragma once
// Plug-in loader of the Harness kernel [Engelmann & Geist, lightweight kernel, §2.3], shared by all programs
// that load components.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"

namespace mvm {

inline constexpr std::uint32_t kPluginMagic = 0x4d564d50;            // "MVMP"
inline constexpr std::uint32_t kPluginInterfacesMagic = 0x4d564d49;  // "MVMI"

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

/// What a plug-in may export besides, under the name `mvm_plugin_interfaces`: the interfaces that it offers
/// to other plug-ins and those that must be there before it is loaded, as "name/version" each. Constant data.
/// [Harness 001, §3.1]
struct MvmPluginInterfaces {
  std::uint32_t magic;        ///< kPluginInterfacesMagic
  const char* const* offers;  ///< ends with a null pointer; null: none
  const char* const* needs;   ///< likewise
};
}

/// The version of a plug-in's file, FIRST.AGE.REVISION: it speaks the versions FIRST to FIRST + AGE of its
/// API, and is the REVISIONth implementation of these. [§2.3]
struct PluginVersion {
  std::uint32_t first = 0;
  std::uint32_t age = 0;
  std::uint32_t revision = 0;

  /// Of the API, the latest that it speaks.
  [[nodiscard]] std::uint64_t latest() const { return std::uint64_t{first} + age; }
  [[nodiscard]] bool speaks(std::uint32_t version) const { return first <= version && version <= latest(); }
  /// "1.2.3"
  [[nodiscard]] std::string text() const;
  friend bool operator==(const PluginVersion&, const PluginVersion&) = default;
};

/// Reads "1.2.3"; nothing where it is no version.
[[nodiscard]] std::optional<PluginVersion> read_plugin_version(std::string_view text);

/// What the name of a plug-in's file says: NAME[.FIRST.AGE.REVISION][.debug].so
struct PluginFile {
  std::string_view base;                 ///< the plug-in's name; part of the text that was read
  std::optional<PluginVersion> version;  ///< where the file names one
  bool debug = false;
};

/// Reads the last part of a file's path; nothing where it is no plug-in's.
[[nodiscard]] std::optional<PluginFile> read_plugin_file(std::string_view file);

/// True where `left` is less recent than `right`, or as recent and not the variant that a kernel prefers that
/// is a debug kernel or not.
[[nodiscard]] bool less_recent(const PluginFile& left, const PluginFile& right, bool debug);

/// Which plug-in is wanted: a name, and of its files one that speaks this version of its API, with this age
/// and revision where these are said too.
struct PluginWish {
  std::string name;
  std::optional<std::uint32_t> version;
  std::optional<std::uint32_t> age;
  std::optional<std::uint32_t> revision;

  /// Reads NAME, NAME@VERSION, NAME@VERSION.AGE or NAME@VERSION.AGE.REVISION; kInvalid else.
  [[nodiscard]] static Result<PluginWish> read(std::string_view text);
  /// True where a file of that version is what is wanted; the name is not looked at.
  [[nodiscard]] bool allows(const std::optional<PluginVersion>& found) const;
};

/// Who plugs in, as listed.
struct PluginInfo {
  std::string name;
  std::string version;
  std::string owner;
  std::filesystem::path file;
  std::vector<std::string> offers;  ///< interfaces, as "name/version"
  std::vector<std::string> needs;
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
    bool debug = false;  ///< of equal versions, the variant with `.debug` in its name
  };
  explicit PluginLoader(Options options) : options_(std::move(options)) {}

  /// Loads `<folder>/<name>[.FIRST.AGE.REVISION][.debug].so`, of several the most recent that the wish
  /// allows: the latest API version, of these the last revision, of these the one that speaks most versions.
  /// A file without a version is the least recent, and nothing that a wish for a version finds. `wish` is
  /// read as PluginWish::read does. The name may have folders ("policies/pack"); links and ".." are refused,
  /// and so is a file that others than its owner (root or us) may write. kNotFound, kRefused, kUnsupported
  /// (kind, version or compiler differ), kCorrupt (no plug-in). Symbols stay private (RTLD_LOCAL).
  /// `check`, if given, hears what it is before any of it runs, and may refuse it.
  using Check = std::function<Status(const PluginInfo&)>;
  [[nodiscard]] Result<std::shared_ptr<LoadedPlugin>> load(const std::string& wish, const std::string& owner,
                                                           const Check& check = {}) const;
  /// What load() would load, without running any of it. `kept`: while that lives, the library stays mapped.
  [[nodiscard]] Result<PluginInfo> inspect(const std::string& wish,
                                           std::shared_ptr<const void>* kept = nullptr) const;
  [[nodiscard]] bool debug() const { return options_.debug; }
  /// Names that could be loaded, sorted, without versions.
  [[nodiscard]] std::vector<std::string> available() const;

 private:
  [[nodiscard]] Result<std::string> choose(const PluginWish& wish) const;
  [[nodiscard]] Result<std::unique_ptr<LoadedPlugin::State>> open(const std::string& wish,
                                                                  const std::string& owner) const;
  Options options_;
};

}  // namespace mvm
