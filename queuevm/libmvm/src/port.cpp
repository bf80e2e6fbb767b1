// SPDX-License-Identifier: Apache-2.0
#include "port.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace mvm::lib {

using ring::End;
using ring::View;

namespace {

constexpr unsigned kEveryOne = 1;
constexpr unsigned kByKey = 2;
const ring::Interrupt kNoInterrupt;
constexpr std::uint64_t kMostPiece = 32768;  // fragments: short, so that both sides copy at the same time

std::int64_t wait_or_forever(const mvm_opts& opts) {
  return opts.timeout_ns == MVM_DEFAULT ? MVM_FOREVER : opts.timeout_ns;
}

bool gone(std::int64_t result) { return result == MVM_EOS || result == MVM_PEERDEAD; }

}  // namespace

void Port::settle() {
  End* only = links_.size() == 1 && !closed_ ? &links_[0]->end : nullptr;
  End* stream = only != nullptr && only->is_stream() ? only : nullptr;
  End* claims = only != nullptr && only->is_claims() ? only : nullptr;
  quick_out_ = out_ ? stream : nullptr;
  quick_in_ = out_ ? nullptr : stream;
  claims_out_ = out_ ? claims : nullptr;
  claims_in_ = out_ ? nullptr : claims;
  if (!out_) return;
  std::sort(links_.begin(), links_.end(), [](const auto& a, const auto& b) { return a->id < b->id; });
}

std::int64_t Port::wait_of(const Link& link, const mvm_opts& opts) const {
  return opts.timeout_ns == MVM_DEFAULT ? link.end.region().spec().timeout_ns : opts.timeout_ns;
}

// A fixed mixing function: the same key finds the same consumer from every producer, in every version.
Link& Port::by_key(std::uint64_t key) {
  key ^= key >> 33;
  key *= 0xff51afd7ed558ccdULL;
  key ^= key >> 33;
  key *= 0xc4ceb9fe1a85ec53ULL;
  key ^= key >> 33;
  return *links_[key % links_.size()];
}

void Port::note(const View& view) {
  last_.key = view.key;
  last_.priority = view.priority;
  last_.flags = view.redelivered ? MVM_REDELIVERED : 0;
}

// ---- out ----

int Port::enqueue(const void* data, std::size_t size, const mvm_opts& opts) {
  if (!out_ || !held_.empty()) return MVM_EINVAL;
  if (closed_ || links_.empty()) return MVM_EOS;
  if (links_.size() == 1) return put_one(*links_[0], data, size, opts);
  if (deliver_ == kByKey) return put_one(by_key(opts.key), data, size, opts);
  if (deliver_ != kEveryOne) return put_any(data, size, opts);
  const int result = reserve_every(size, opts);
  return result == MVM_OK ? commit_every(size, data) : result;
}

int Port::put_one(Link& link, const void* data, std::size_t size, const mvm_opts& opts) {
  int result = link.end.put(data, size, opts.priority, opts.key);
  if (result == MVM_TOOBIG && link.end.may_fragment() && size <= ring::kMaxMessage) {
    return put_large(link, data, size, wait_of(link, opts));
  }
  if (result != kAgain) return result;
  return static_cast<int>(ring::until_done(
      link.end, [&] { return link.end.put(data, size, opts.priority, opts.key); }, wait_of(link, opts), spin_,
      interrupt_));
}

int Port::put_large(Link& link, const void* data, std::size_t size, std::int64_t wait_ns) {
  const std::size_t piece =
      static_cast<std::size_t>(std::min(link.end.region().spec().bytes / 4, kMostPiece)) & ~std::size_t{7};
  const std::int64_t deadline = ring::deadline_after(wait_ns);
  const auto* at = static_cast<const std::byte*>(data);
  for (std::size_t sent = 0; sent < size;) {
    const std::size_t now = std::min(piece, size - sent);
    const std::int64_t left =
        deadline == ring::kForever ? MVM_FOREVER : std::max<std::int64_t>(0, deadline - ring::now_ns());
    const std::int64_t result = ring::until_done(
        link.end, [&] { return link.end.put_fragment(at + sent, now, size, sent != 0, sent + now < size); },
        left, spin_, sent == 0 ? interrupt_ : kNoInterrupt);
    if (result != MVM_OK) {
      if (sent != 0) link.end.put_abort();
      return static_cast<int>(result);
    }
    sent += now;
  }
  return MVM_OK;
}

// Whichever queue has room first. The queues take turns in going first.
int Port::put_any(const void* data, std::size_t size, const mvm_opts& opts) {
  const std::int64_t deadline = ring::deadline_after(wait_of(*links_[0], opts));
  for (;;) {
    End* waiting[ring::kMostEnds];
    unsigned count = 0;
    int last = MVM_EOS;
    for (std::size_t i = 0; i < links_.size(); ++i) {
      Link& link = *links_[(turn_ + i) % links_.size()];
      const int result = link.end.put(data, size, opts.priority, opts.key);
      if (result == MVM_OK) {
        turn_ = (turn_ + i + 1) % links_.size();
        return MVM_OK;
      }
      if (result == kAgain && count < ring::kMostEnds) waiting[count++] = &link.end;
      if (result != kAgain && (last == MVM_EOS || !gone(result))) last = result;
    }
    if (count == 0) return last;
    const auto woken = ring::wait_any(waiting, count, &ring::test_maybe, deadline, spin_, interrupt_);
    if (woken == ring::Woken::kTimeout) return MVM_TIMEOUT;
    if (woken == ring::Woken::kInterrupted) return MVM_REWIRED;
  }
}

// Room in every queue, or in none. The order of the links is the same in all processes.
int Port::reserve_every(std::size_t size, const mvm_opts& opts) {
  const std::int64_t deadline = ring::deadline_after(wait_of(*links_[0], opts));
  int nobody = MVM_EOS;
  held_priority_ = opts.priority;
  held_key_ = opts.key;
  held_size_ = size;
  for (auto& link : links_) {
    std::byte* room = nullptr;
    const std::int64_t left =
        deadline == ring::kForever ? MVM_FOREVER : std::max<std::int64_t>(0, deadline - ring::now_ns());
    const std::int64_t result = ring::until_done(
        link->end, [&] { return link->end.reserve(size, &room); }, left, spin_, interrupt_);
    if (result == MVM_OK) {
      held_.emplace_back(link.get(), room);
    } else if (gone(result) || result == MVM_DROPPED) {
      if (nobody == MVM_EOS) nobody = static_cast<int>(result);
    } else {
      cancel_every();
      return static_cast<int>(result);
    }
  }
  return held_.empty() ? nobody : MVM_OK;
}

int Port::commit_link(Link& link, std::size_t size) {
  int result = kAgain;
  while (result == kAgain) result = link.end.commit(size, held_priority_, held_key_);
  return result;
}

// `data` null: the first reservation was filled in place, the others get copies of it.
int Port::commit_every(std::size_t size, const void* data) {
  const void* from = data != nullptr || held_.empty() ? data : held_.front().second;
  for (auto& [link, room] : held_) {
    if (size != 0 && room != from) std::memcpy(room, from, size);
  }
  int result = held_.empty() ? MVM_EINVAL : MVM_EOS;
  for (auto& [link, room] : held_) {
    const int one = commit_link(*link, size);
    if (result != MVM_OK) result = one;
  }
  held_.clear();
  return result;
}

void Port::cancel_every() {
  for (auto& [link, room] : held_) {
    while (link->end.cancel() == kAgain) {
    }
  }
  held_.clear();
}

int Port::reserve(std::size_t size, void** data, const mvm_opts& opts) {
  if (!out_ || !held_.empty()) return MVM_EINVAL;
  if (closed_ || links_.empty()) return MVM_EOS;
  held_priority_ = opts.priority;
  held_key_ = opts.key;
  held_size_ = size;
  int result = MVM_OK;
  if (links_.size() > 1 && deliver_ == kEveryOne) {
    result = reserve_every(size, opts);
  } else {
    Link& link = links_.size() == 1   ? *links_[0]
                 : deliver_ == kByKey ? by_key(opts.key)
                                      : *links_[turn_++ % links_.size()];
    std::byte* room = nullptr;
    result = static_cast<int>(ring::until_done(
        link.end, [&] { return link.end.reserve(size, &room); }, wait_of(link, opts), spin_, interrupt_));
    if (result == MVM_OK) held_.emplace_back(&link, room);
  }
  if (result == MVM_OK) *data = held_.front().second;
  return result;
}

int Port::commit(std::size_t size) {
  if (held_.empty() || size > held_size_) return MVM_EINVAL;
  const int result = commit_every(size, nullptr);
  leave_parted();
  return result;
}

int Port::cancel() {
  if (held_.empty()) return MVM_EINVAL;
  cancel_every();
  leave_parted();
  return MVM_OK;
}

// ---- in ----

std::int64_t Port::ended_result() const {
  for (const auto& link : links_) {
    if (link->dead) return MVM_PEERDEAD;
  }
  return MVM_EOS;
}

bool Port::waits_for_others(Link& link) {
  if (link.after.empty()) return false;
  for (const auto& other : links_)
    if (!other->ended && std::find(link.after.begin(), link.after.end(), other->id) != link.after.end())
      return true;
  link.after.clear();
  return false;
}

// Does `step` on whichever link has something first; the links take turns in going first.
template <class Step>
std::int64_t Port::from_any(Step step, std::int64_t wait_ns) {
  const std::int64_t deadline = ring::deadline_after(wait_ns);
  for (;;) {
    End* waiting[ring::kMostEnds];
    unsigned count = 0;
    bool more = false;
    for (std::size_t i = 0; i < links_.size(); ++i) {
      Link& link = *links_[(turn_ + i) % links_.size()];
      if (link.ended) continue;
      if (waits_for_others(link)) {
        more = true;
        continue;
      }
      const std::int64_t result = step(link);
      if (result == MVM_EOS || (result == MVM_PEERDEAD && link.end.finished())) {
        link.ended = true;
        link.dead = result == MVM_PEERDEAD;
        if (result == MVM_EOS) continue;
      }
      if (result != kAgain) {
        turn_ = (turn_ + i + 1) % links_.size();
        return result;
      }
      if (count < ring::kMostEnds) waiting[count++] = &link.end;
    }
    if (count == 0 && more) continue;  // what it waited for has just ended
    if (count == 0) return ended_result();
    const auto woken = ring::wait_any(waiting, count, &ring::test_maybe, deadline, spin_, interrupt_);
    if (woken == ring::Woken::kTimeout) return MVM_TIMEOUT;
    if (woken == ring::Woken::kInterrupted) return MVM_REWIRED;
  }
}

// The rest of a message that is cut into fragments. `view` is the first, taken.
std::int64_t Port::get_rest(Link& link, View view, void* buffer) {
  auto* to = static_cast<std::byte*>(buffer);
  const std::uint64_t total = view.total;
  std::uint64_t filled = 0;
  for (;;) {
    if (view.aborted || view.size > total - filled) {
      const bool aborted = view.aborted;
      link.end.release(view.token);
      return aborted ? kAgain : MVM_ECORRUPT;
    }
    if (view.size != 0) std::memcpy(to + filled, view.data, view.size);
    filled += view.size;
    const bool more = view.more;
    link.end.release(view.token);
    if (!more) return filled == total ? static_cast<std::int64_t>(total) : MVM_ECORRUPT;
    // The producer finishes or voids what it began; only its death ends this wait, not the call's time-out,
    // which is about waiting for a message to come.
    const std::int64_t result = ring::until_done(
        link.end, [&] { return link.end.take(view); }, MVM_FOREVER, spin_, kNoInterrupt);
    if (result != MVM_OK) return result;
  }
}

std::int64_t Port::await_dequeue(void* buffer, std::size_t capacity) {
  if (quick_in_ == nullptr || quick_in_->quick_ready()) return kAgain;
  const auto ready = [&] { return quick_in_->quick_ready(); };
  if (linger_.now()) linger_.learn(quick_in_->quick_backlog(Linger::kWorthIt));
  if (spin_(ready) || spin_.yields(ready, kQuickYields, 0)) return quick_in_->quick_get(buffer, capacity);
  spin_.spent();
  return kAgain;
}

// A message that its producer is still writing. Again, only the producer's death ends the wait.
std::int64_t Port::get_grown(Link& link, const View& view, void* buffer) {
  std::uint64_t done = 0;
  End* one = &link.end;
  for (;;) {
    const int result = link.end.get_grown(view, buffer, done);
    if (result == MVM_OK) return static_cast<std::int64_t>(view.size);
    if (result == ring::kVoided) return kAgain;
    if (result != kAgain) return result;
    const int gone = link.end.other_side();
    if (gone != kAgain && !link.end.grown()) {
      link.end.rewind();
      return gone;
    }
    ring::wait_any(&one, 1, &ring::test_grown, ring::kForever, spin_, kNoInterrupt);
  }
}

std::int64_t Port::dequeue(void* buffer, std::size_t capacity, const mvm_opts& opts) {
  if (out_ || peeked_ != nullptr) return MVM_EINVAL;
  if (closed_) return MVM_EOS;
  View view;
  auto step = [&](Link& link) -> std::int64_t {
    for (;;) {
      const int result = link.end.get(buffer, capacity, view);
      if (result != MVM_OK) return result;
      if (view.growing) {
        const std::int64_t grown = get_grown(link, view, buffer);
        if (grown != kAgain) return grown;
        continue;
      }
      if (!view.more && !view.continuation) return static_cast<std::int64_t>(view.size);
      if (view.continuation) {  // the rest of a message whose beginning an earlier process took
        link.end.release(view.token);
        continue;
      }
      const std::int64_t rest = get_rest(link, view, buffer);
      if (rest != kAgain) return rest;
    }
  };
  std::int64_t result = kAgain;
  if (links_.size() == 1) {
    Link& link = *links_[0];
    result = step(link);
    if (result == kAgain) {
      result = ring::until_done(
          link.end, [&] { return step(link); }, wait_or_forever(opts), spin_, interrupt_);
    }
  } else {
    result = from_any(step, wait_or_forever(opts));
  }
  if (result >= 0) note(view);
  return result;
}

std::int64_t Port::next_size() {
  if (out_ || peeked_ != nullptr) return MVM_EINVAL;
  if (closed_) return MVM_EOS;
  std::int64_t result = links_.empty() ? std::int64_t{MVM_EOS} : MVM_TIMEOUT;
  for (std::size_t i = 0; i < links_.size(); ++i) {
    Link& link = *links_[(turn_ + i) % links_.size()];
    if (waits_for_others(link)) continue;
    const std::int64_t one = link.end.next_size();
    if (one >= 0) return one;
    if (links_.size() == 1 && one != kAgain) result = one;
  }
  return result;
}

std::int64_t Port::peek(const void** data, const mvm_opts& opts) {
  if (out_ || peeked_ != nullptr) return MVM_EINVAL;
  if (closed_) return MVM_EOS;
  View view;
  Link* found = nullptr;
  auto step = [&](Link& link) -> std::int64_t {
    for (;;) {
      const int result = link.end.take(view);
      if (result != MVM_OK) return result;
      if (view.continuation) {
        link.end.release(view.token);
        continue;
      }
      if (view.more) {
        link.end.rewind();
        return MVM_TOOBIG;
      }
      found = &link;
      return static_cast<std::int64_t>(view.size);
    }
  };
  const std::int64_t result = from_any(step, wait_or_forever(opts));
  if (result < 0) return result;
  peeked_ = found;
  peeked_token_ = view.token;
  note(view);
  *data = view.data;
  return result;
}

int Port::release() {
  if (peeked_ == nullptr) return MVM_EINVAL;
  const int result = peeked_->end.release(peeked_token_);
  peeked_ = nullptr;
  leave_parted();
  return result;
}

// ---- both ----

int Port::done() {
  close(ring::kDone);
  return MVM_OK;
}

void Port::close(ring::SlotState how) {
  if (closed_) return;
  closed_ = true;
  quick_out_ = nullptr;
  quick_in_ = nullptr;
  claims_out_ = nullptr;
  claims_in_ = nullptr;
  held_.clear();
  peeked_ = nullptr;
  for (auto& link : links_) link->end.close(how);
  for (auto& link : parted_) link->end.close(how);
  parted_.clear();
}

// ---- rewiring ----

bool Port::joined(std::uint64_t link) const {
  return std::any_of(links_.begin(), links_.end(), [&](const auto& one) { return one->id == link; });
}

void Port::drop_next() {
  if (next_ == nullptr) return;
  for (const auto& [id, fd] : next_->descriptors)
    if (fd >= 0) ::close(fd);
  next_.reset();
}

void Port::expect(NewLinks next) {
  drop_next();
  next_ = std::make_unique<NewLinks>(std::move(next));
}

// A link that holds something for the caller goes when the caller has done with it.
void Port::leave(std::unique_ptr<Link> link) {
  const bool held = link.get() == peeked_ || std::any_of(held_.begin(), held_.end(), [&](const auto& one) {
                      return one.first == link.get();
                    });
  if (held)
    parted_.push_back(std::move(link));
  else
    link->end.close(ring::kDone);
}

void Port::leave_parted() {
  for (auto& link : parted_) link->end.close(ring::kDone);
  parted_.clear();
}

int Port::join_link(const wire::Link& link, std::string& why) {
  const auto found = std::find_if(next_->descriptors.begin(), next_->descriptors.end(),
                                  [&](const auto& one) { return one.first == link.id; });
  if (found == next_->descriptors.end() || found->second < 0) {
    why = "two links share a descriptor";
    return MVM_ECORRUPT;
  }
  ring::Region region;
  int result = region.open(found->second, why);
  if (result == MVM_OK) {
    found->second = -1;  // the region's now
    auto made = std::make_unique<Link>();
    made->id = link.id;
    made->after = link.after;
    result = made->end.attach(std::move(region), out_ ? ring::Side::kProducer : ring::Side::kConsumer,
                              link.slot, false, why);
    if (result == MVM_OK) links_.push_back(std::move(made));
    if (result == MVM_OK && closed_) links_.back()->end.close(ring::kDone);
  }
  if (result != MVM_OK) why = "port " + name_ + "[" + std::to_string(index_) + "]: " + why;
  return result;
}

void Port::adopt(const ring::Interrupt& interrupt) {
  interrupt_ = interrupt;
  if (next_ == nullptr) return;
  deliver_ = next_->deliver;
  trouble_ = MVM_OK;
  std::vector<std::unique_ptr<Link>> before;
  before.swap(links_);
  for (const wire::Link& wanted : next_->links) {
    const auto kept = std::find_if(before.begin(), before.end(),
                                   [&](const auto& one) { return one != nullptr && one->id == wanted.id; });
    if (kept != before.end()) {
      links_.push_back(std::move(*kept));
      continue;
    }
    changed_ = true;
    std::string why;
    if (const int result = join_link(wanted, why); result != MVM_OK && trouble_ == MVM_OK) {
      trouble_ = result;
      why_ = std::move(why);
    }
  }
  for (auto& link : before) {
    if (link == nullptr) continue;
    if (out_ || !(link->ended || link->end.finished())) changed_ = true;
    leave(std::move(link));
  }
  turn_ = 0;
  drop_next();
  settle();
}

int Port::take_trouble(std::string& why) {
  if (trouble_ != MVM_OK) why = why_;
  return std::exchange(trouble_, MVM_OK);
}

std::int64_t wait_ports(Port* const* ports, std::size_t count, std::int64_t wait_ns) {
  const std::int64_t deadline = ring::deadline_after(wait_ns);
  for (std::size_t i = 0; i < count; ++i) {
    auto& links = ports[i]->links();
    const bool all_ended =
        std::all_of(links.begin(), links.end(), [](const auto& link) { return link->ended; });
    if (all_ended || ports[i]->closed()) return static_cast<std::int64_t>(i);
  }
  ring::Spin spin;
  std::vector<End*> ends;
  for (std::size_t turn = 0;; turn += ring::kMostEnds) {
    ends.clear();
    for (std::size_t i = 0; i < count; ++i) {
      for (auto& link : ports[i]->links()) {
        if (link->ended || ports[i]->waits_for_others(*link)) continue;
        if (link->end.ready()) return static_cast<std::int64_t>(i);
        ends.push_back(&link->end);
      }
    }
    // More ends than one sleep can cover: in turns, each for a short while.
    const unsigned now = static_cast<unsigned>(std::min<std::size_t>(ends.size(), ring::kMostEnds));
    if (now < ends.size()) {
      const auto first = static_cast<std::ptrdiff_t>(turn % ends.size());
      std::rotate(ends.begin(), ends.begin() + first, ends.end());
    }
    const std::int64_t until = now == ends.size() ? deadline : std::min(deadline, ring::now_ns() + 5'000'000);
    const auto woken =
        ring::wait_any(ends.data(), now, &ring::test_ready, until, spin, ports[0]->interrupt());
    if (woken == ring::Woken::kInterrupted) return MVM_REWIRED;
    if (woken == ring::Woken::kTimeout && until == deadline) return MVM_TIMEOUT;
  }
}

}  // namespace mvm::lib
