#include "offline.h"

#include <string>
#include <utility>

#include "handles.h"

namespace mvm::replica {
namespace {

Error raft_error(int code, const raft_io& io, const std::string& what) {
  std::string text = what + ": " + raft_strerror(code);
  if (io.errmsg[0] != '\0') text += ": " + std::string(io.errmsg);
  return {code == RAFT_CORRUPT || code == RAFT_MALFORMED ? ErrorCode::kCorrupt : ErrorCode::kIo, text};
}

/// libraft's storage on a loop of its own.
class Store {
 public:
  Store(const std::filesystem::path& log, std::uint64_t id) : log_(log), id_(id) {}
  ~Store() {
    if (initialised_) {
      io_.data = this;
      io_.close(&io_, [](raft_io*) {});
      uv_run(&loop_, UV_RUN_DEFAULT);
    }
    if (made_) raft_uv_close(&io_);
    if (looped_) {
      uv_run(&loop_, UV_RUN_DEFAULT);
      uv_loop_close(&loop_);
    }
  }
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  Status open() {
    transport_.init = [](raft_uv_transport*, raft_id, const char*) { return 0; };
    transport_.listen = [](raft_uv_transport*, raft_uv_accept_cb) { return 0; };
    transport_.connect = [](raft_uv_transport*, raft_uv_connect*, raft_id, const char*, raft_uv_connect_cb) {
      return RAFT_NOCONNECTION;
    };
    transport_.close = [](raft_uv_transport* transport, raft_uv_transport_close_cb closed) {
      closed(transport);
    };
    if (const int code = uv_loop_init(&loop_); code != 0) return uv_error(code, "make a loop");
    looped_ = true;
    if (const int code = raft_uv_init(&io_, &loop_, log_.c_str(), &transport_); code != 0)
      return raft_error(code, io_, "open " + log_.string());
    made_ = true;
    if (const int code = io_.init(&io_, id_, std::to_string(id_).c_str()); code != 0)
      return raft_error(code, io_, "open " + log_.string());
    initialised_ = true;
    return ok();
  }

  Result<LogEnd> load() {
    LogEnd end;
    raft_term term = 0;
    raft_id voted = 0;
    raft_snapshot* snapshot = nullptr;
    raft_index start = 0;
    raft_entry* entries = nullptr;
    std::size_t count = 0;
    if (const int code = io_.load(&io_, &term, &voted, &snapshot, &start, &entries, &count); code != 0) {
      return raft_error(code, io_, "read " + log_.string());
    }
    end.current_term = term;
    if (snapshot != nullptr) {
      end.term = snapshot->term;
      end.index = snapshot->index;
      for (unsigned i = 0; i < snapshot->configuration.n; ++i) {
        const raft_server& server = snapshot->configuration.servers[i];
        end.servers.push_back(wire::Server{server.id, static_cast<std::uint8_t>(server.role)});
      }
      raft_configuration_close(&snapshot->configuration);
      for (unsigned i = 0; i < snapshot->n_bufs; ++i) raft_free(snapshot->bufs[i].base);
      raft_free(snapshot->bufs);
      raft_free(snapshot);
    }
    Status read = ok();
    void* batch = nullptr;
    for (std::size_t i = 0; i < count; ++i) {
      if (start + i > end.index) {
        end.index = start + i;
        end.term = entries[i].term;
      }
      if (entries[i].type == RAFT_CHANGE) {
        auto servers = wire::decode_change(
            std::string_view(static_cast<const char*>(entries[i].buf.base), entries[i].buf.len));
        if (servers) {
          end.servers = std::move(*servers);
        } else {
          read = servers.error();
        }
      }
    }
    for (std::size_t i = 0; i < count; ++i) {
      if (entries[i].batch != batch) {
        batch = entries[i].batch;
        raft_free(batch);
      }
    }
    raft_free(entries);
    MVM_TRY(read);
    return end;
  }

  Status set_term(std::uint64_t term) {
    if (const int code = io_.set_term(&io_, term); code != 0) return raft_error(code, io_, "write the term");
    return ok();
  }

  Status bootstrap(const std::vector<wire::Server>& servers) {
    raft_configuration configuration;
    MVM_TRY(fill(configuration, servers));
    const int code = io_.bootstrap(&io_, &configuration);
    raft_configuration_close(&configuration);
    if (code != 0) return raft_error(code, io_, "write the first configuration");
    return ok();
  }

  /// After load(), which tells the storage where to go on.
  Status append(std::uint64_t term, const std::vector<wire::Server>& servers) {
    raft_configuration configuration;
    MVM_TRY(fill(configuration, servers));
    raft_entry entry{};
    entry.term = term;
    entry.type = RAFT_CHANGE;
    int code = raft_configuration_encode(&configuration, &entry.buf);
    raft_configuration_close(&configuration);
    if (code != 0) return raft_error(code, io_, "encode a configuration");
    raft_io_append request{};
    int status = -1;
    request.data = &status;
    code = io_.append(&io_, &request, &entry, 1,
                      [](raft_io_append* done, int result) { *static_cast<int*>(done->data) = result; });
    // The storage prepares new segments in its own time; once ours is written there is nothing more to wait
    // for.
    while (code == 0 && status == -1) uv_run(&loop_, UV_RUN_ONCE);
    raft_free(entry.buf.base);
    if (code != 0 || status != 0) return raft_error(code != 0 ? code : status, io_, "append a configuration");
    return ok();
  }

 private:
  Status fill(raft_configuration& configuration, const std::vector<wire::Server>& servers) {
    raft_configuration_init(&configuration);
    for (const wire::Server& server : servers) {
      const int code =
          raft_configuration_add(&configuration, server.id, std::to_string(server.id).c_str(), server.role);
      if (code != 0) {
        raft_configuration_close(&configuration);
        return raft_error(code, io_, "make a configuration");
      }
    }
    return ok();
  }

  std::filesystem::path log_;
  std::uint64_t id_;
  uv_loop_t loop_{};
  raft_io io_{};
  raft_uv_transport transport_{};
  bool looped_ = false;
  bool made_ = false;
  bool initialised_ = false;
};

}  // namespace

Result<LogEnd> inspect(const std::filesystem::path& log, std::uint64_t id) {
  Store store(log, id);
  MVM_TRY(store.open());
  return store.load();
}

Status write_first(const std::filesystem::path& log, std::uint64_t id,
                   const std::vector<wire::Server>& servers) {
  Store store(log, id);
  MVM_TRY(store.open());
  MVM_ASSIGN(const LogEnd end, store.load());
  if (end.index > 0) return ok();
  return store.bootstrap(servers);
}

Status raise_term(const std::filesystem::path& log, std::uint64_t id, std::uint64_t term) {
  Store store(log, id);
  MVM_TRY(store.open());
  MVM_ASSIGN(const LogEnd end, store.load());
  return end.current_term >= term ? ok() : store.set_term(term);
}

Status append_configuration(const std::filesystem::path& log, std::uint64_t id, std::uint64_t term,
                            const std::vector<wire::Server>& servers) {
  Store store(log, id);
  MVM_TRY(store.open());
  MVM_ASSIGN(const LogEnd end, store.load());
  return end.term >= term ? ok() : store.append(term, servers);
}

}  // namespace mvm::replica
