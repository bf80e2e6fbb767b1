#pragma once
// The deliberate limits of files and graphs. Beyond each there is a clear error, never a slow death.

#include <cstddef>
#include <cstdint>

namespace mvm::topologies {

inline constexpr std::size_t kMaxFileBytes = 16U << 20U;   ///< one file, and one bundle
inline constexpr int kMaxDepth = 32;                       ///< nested elements
inline constexpr std::uint64_t kMaxElements = 200'000;     ///< elements of one file
inline constexpr std::uint32_t kMaxProcesses = 1'000'000;  ///< processes of one graph
inline constexpr std::uint32_t kMaxLinks = 10'000'000;     ///< links of one graph
inline constexpr std::uint32_t kMaxPortCount = 1'000'000;  ///< slots of one port array
inline constexpr std::uint32_t kMaxOpenQueues = 1'000;     ///< between a job's open ports and the outside
inline constexpr std::uint32_t kMaxRoles = 1'000;          ///< roles of one topology
inline constexpr std::uint32_t kMaxPorts = 256;            ///< ports of one role; an array counts once
inline constexpr std::uint32_t kMaxSiblings = 1'000;  ///< programs, machines, parameters, ... of one profile
inline constexpr std::uint32_t kMaxMachines = 100'000;            ///< machines of one profile
inline constexpr std::uint64_t kMaxExpansionSteps = 100'000'000;  ///< work of one expansion
inline constexpr std::size_t kMaxSubstituted = 1U << 20U;         ///< bytes of a text after substitution
inline constexpr std::size_t kMaxArguments = 1024;                ///< arguments of one `run`
inline constexpr std::size_t kMaxDiagnostics = 100;  ///< reported for one file; then "and N more"
inline constexpr int kMaxExpressionDepth = 64;       ///< nesting of one expression

/// How large a graph may become. A broker may set less than the reader could do.
struct GraphLimits {
  std::uint32_t processes = kMaxProcesses;
  std::uint32_t links = kMaxLinks;
  /// Ends of all links together, and slots of all processes together.
  [[nodiscard]] std::uint64_t ends() const { return std::uint64_t{links} * 4; }
};

}  // namespace mvm::topologies
