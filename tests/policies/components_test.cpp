// The components that we ship, loaded as shared objects and asked directly.

#include <dlfcn.h>
#include <gmock/gmock.h>

#include <memory>
#include <random>

#include "../../broker/src/policy_codec.h"
#include "mvm/policy.h"

namespace mvm::broker {
namespace {

using ::testing::ElementsAre;

class Component {
 public:
  explicit Component(const std::string& name)
      : library_(
            ::dlopen((std::string(MVM_BINARY_DIR) + "/lib/mvm/policies/" + name + ".so").c_str(), RTLD_NOW)) {
    if (library_ != nullptr)
      descriptor_ = static_cast<const mvm_policy_descriptor*>(::dlsym(library_, "mvm_policy"));
  }
  ~Component() {
    if (library_ != nullptr) ::dlclose(library_);
  }
  Component(const Component&) = delete;
  Component& operator=(const Component&) = delete;
  const mvm_policy_descriptor* operator->() const { return descriptor_; }
  [[nodiscard]] bool loaded() const { return descriptor_ != nullptr; }
  [[nodiscard]] std::string ask(const std::string& question, const char* options = "") const {
    std::string room(1 << 20, '\0');
    void* self = descriptor_->create(options);
    const auto size = descriptor_->decide(self, question.data(), question.size(), room.data(), room.size());
    descriptor_->destroy(self);
    room.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
    return room;
  }

 private:
  void* library_;
  const mvm_policy_descriptor* descriptor_ = nullptr;
};

PlacementProblem problem(const std::vector<std::uint64_t>& free, const std::vector<std::uint32_t>& counts) {
  PlacementProblem p;
  std::vector<std::uint32_t> all;
  for (const auto milli : free) {
    all.push_back(static_cast<std::uint32_t>(p.hosts.size()));
    p.hosts.push_back({.milli_vcpus = milli, .memory = 1000, .milli_vcpus_all = 4000, .memory_all = 1000});
  }
  for (const auto count : counts)
    p.sets.push_back({.count = count, .milli_vcpus = 1000, .memory = 10, .hosts = all});
  return p;
}

TEST(Components, DescribeThemselves) {
  for (const auto& [name, kind] : {std::pair{"placement-pack", MVM_POLICY_PLACEMENT},
                                   {"placement-spread", MVM_POLICY_PLACEMENT},
                                   {"order-fifo", MVM_POLICY_ORDER},
                                   {"order-fair", MVM_POLICY_ORDER},
                                   {"links-codecs", MVM_POLICY_LINKS}}) {
    const Component component(name);
    ASSERT_TRUE(component.loaded()) << name;
    EXPECT_STREQ(component->name, name);
    EXPECT_STREQ(component->kind, kind);
    EXPECT_STREQ(component->abi, MVM_POLICY_ABI);
    EXPECT_EQ(component->api, MVM_POLICY_API);
  }
}

TEST(Components, PackFillsSpreadSpreads) {
  const auto asked = problem({4000, 3000, 4000}, {4});
  const auto packed = *decode_placement(Component("placement-pack").ask(encode_question(asked)));
  ASSERT_TRUE(packed);
  EXPECT_THAT(packed->host_of, ElementsAre(1, 1, 1, 0)) << "the used one first";
  EXPECT_EQ(packed->layout, Layout::kBlock);
  const auto spread = *decode_placement(Component("placement-spread").ask(encode_question(asked)));
  ASSERT_TRUE(spread);
  EXPECT_THAT(spread->host_of, ElementsAre(0, 2, 0, 1));
  EXPECT_EQ(spread->layout, Layout::kCyclic);
  for (const auto* name : {"placement-pack", "placement-spread"})
    EXPECT_FALSE(*decode_placement(Component(name).ask(encode_question(problem({4000}, {3, 2})))));
}

TEST(Components, NoPlacementUsesMoreThanThereIs) {
  std::mt19937 random(5);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::uint64_t> free(1 + random() % 5);
    for (auto& milli : free) milli = random() % 5000;
    std::vector<std::uint32_t> counts(1 + random() % 3);
    for (auto& count : counts) count = static_cast<std::uint32_t>(random() % 5);
    const auto asked = problem(free, counts);
    for (const auto* name : {"placement-pack", "placement-spread"}) {
      const auto placement = decode_placement(Component(name).ask(encode_question(asked)));
      ASSERT_TRUE(placement) << placement.error().describe();
      if (*placement) {
        EXPECT_TRUE(check_placement(asked, **placement)) << name;
      } else {
        EXPECT_FALSE(pack(asked)) << name << " finds no room where there is some";
      }
    }
  }
}

WaitingJob job(std::uint64_t number, const std::string& user, std::uint64_t milli) {
  return {.id = std::to_string(number),
          .user = user,
          .number = number,
          .submitted_ms = 0,
          .attempt = 1,
          .milli_vcpus = milli,
          .memory = 1,
          .nodes = 1};
}

TEST(Components, FifoIsStrictFairTakesTurns) {
  const std::vector<WaitingJob> jobs = {job(5, "ada", 100), job(1, "ada", 100), job(2, "ada", 100),
                                        job(3, "bob", 100), job(4, "cyd", 100)};
  const auto fifo = *decode_order(Component("order-fifo").ask(encode_question(jobs, {})), jobs.size());
  EXPECT_THAT(fifo.order, ElementsAre(1, 2, 3, 4, 0));
  EXPECT_TRUE(fifo.strict);
  const auto fair =
      *decode_order(Component("order-fair").ask(encode_question(jobs, {{"cyd", 1000}})), jobs.size());
  EXPECT_THAT(fair.order, ElementsAre(1, 3, 2, 0, 4)) << "ada, bob, ada, ada; cyd holds most";
  EXPECT_FALSE(fair.strict);
}

using Chain = std::vector<std::string>;

const std::vector<CarriedLink> kLinks = {
    {.link = 3, .name = "ring[3]", .between_hosts = true, .bytes = 4096, .codecs = {}},
    {.link = 4, .name = "ring[4]", .between_hosts = false, .bytes = 4096, .codecs = {"zstd:3"}},
    {.link = 9, .name = "report", .between_hosts = true, .bytes = 4096, .codecs = {"checksum", "zstd"}}};

TEST(Components, LinksCodecsAddsByHowFarALinkGoes) {
  const Component component("links-codecs");
  const auto question = encode_question(kLinks);
  const auto answer = [&](const char* options) { return *decode_links(component.ask(question, options), 3); };
  EXPECT_THAT(answer(""), ElementsAre(Chain{}, Chain{}, Chain{}));
  EXPECT_THAT(answer("between-hosts=zstd:1\n"), ElementsAre(Chain{"zstd:1"}, Chain{}, Chain{"zstd:1"}));
  EXPECT_THAT(answer("between-domains=checksum encrypt\nbetween-hosts=zstd\n"),
              ElementsAre(Chain{"zstd", "checksum", "encrypt"}, Chain{"checksum", "encrypt"},
                          Chain{"zstd", "checksum", "encrypt"}));
  EXPECT_THAT(answer("between-domains=encrypt\nlinks=ring"),
              ElementsAre(Chain{"encrypt"}, Chain{"encrypt"}, Chain{}));
  EXPECT_THAT(answer("between-domains=encrypt\nlinks=ring[4] report"),
              ElementsAre(Chain{}, Chain{"encrypt"}, Chain{"encrypt"}));
  EXPECT_FALSE(decode_links(component.ask(question, "between-domains=zip"), 3)) << "no codec of that name";
  for (std::size_t cut = 0; cut < question.size(); ++cut)
    EXPECT_EQ(component.ask(question.substr(0, cut)), "");
}

TEST(PolicyCodec, PlansForLinksAreReadStrictly) {
  const auto good = Component("links-codecs").ask(encode_question(kLinks), "between-hosts=zstd\n");
  ASSERT_TRUE(decode_links(good, 3));
  EXPECT_FALSE(decode_links(good, 2));
  for (std::size_t cut = 0; cut < good.size(); ++cut)
    EXPECT_FALSE(decode_links(good.substr(0, cut), 3)) << cut;
  EXPECT_FALSE(decode_links(good + "x", 3));
  for (std::size_t at = 0; at < good.size(); ++at) {
    auto changed = good;
    changed[at] = '\x7f';
    if (const auto read = decode_links(changed, 3)) {
      EXPECT_EQ(read->size(), 3U);
    }
  }
}

TEST(Components, RefuseQuestionsThatAreNone) {
  const auto placement = encode_question(problem({4000}, {1}));
  for (const auto* name : {"placement-pack", "placement-spread", "order-fifo", "order-fair"}) {
    const Component component(name);
    EXPECT_EQ(component.ask(""), "");
    EXPECT_EQ(component.ask(std::string(200, 'x')), "");
    if (std::string(name).starts_with("order")) {
      EXPECT_EQ(component.ask(placement), "");
      continue;
    }
    for (std::size_t cut = 0; cut < placement.size(); ++cut)
      EXPECT_EQ(component.ask(placement.substr(0, cut)), "") << cut;
  }
}

TEST(PolicyCodec, AnswersAreReadStrictly) {
  const auto asked = problem({4000}, {2});
  const auto good = Component("placement-pack").ask(encode_question(asked));
  ASSERT_TRUE(decode_placement(good));
  for (std::size_t cut = 0; cut < good.size(); ++cut) EXPECT_FALSE(decode_placement(good.substr(0, cut)));
  EXPECT_FALSE(decode_placement(good + "x"));
  const std::vector<WaitingJob> jobs = {job(1, "a", 1), job(2, "a", 1)};
  auto order = Component("order-fifo").ask(encode_question(jobs, {}));
  ASSERT_TRUE(decode_order(order, 2));
  EXPECT_FALSE(decode_order(order, 3));
  order[sizeof(mvm_order_plan)] = 1;  // the second twice
  EXPECT_FALSE(decode_order(order, 2));
}

}  // namespace
}  // namespace mvm::broker
