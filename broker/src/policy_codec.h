#pragma once
// Questions and answers of policies as the flat bytes of mvm/policy.h. Pure.

#include <string>

#include "policy_runner.h"

namespace mvm::broker {

[[nodiscard]] std::string encode_question(const PlacementProblem& problem);
/// kCorrupt where the answer is none; none inside: no room. The placement itself is not checked.
[[nodiscard]] Result<std::optional<Placement>> decode_placement(std::string_view plan);

[[nodiscard]] std::string encode_question(const std::vector<WaitingJob>& jobs, const UsageByUser& usage);
/// kCorrupt unless it names each of `jobs` once.
[[nodiscard]] std::string encode_question(const std::vector<CarriedLink>& links);
/// For each of so many links the codecs to add, each of them known.
[[nodiscard]] Result<std::vector<std::vector<std::string>>> decode_links(std::string_view plan,
                                                                         std::size_t links);
[[nodiscard]] Result<OrderAnswer> decode_order(std::string_view plan, std::size_t jobs);

}  // namespace mvm::broker
