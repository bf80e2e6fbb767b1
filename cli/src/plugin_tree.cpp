#include "plugin_tree.h"

#include <algorithm>
#include <set>

#include "format.h"

namespace mvm::cli {
namespace {

using soap::KernelView;
using soap::PluginView;

constexpr const char* kKernel = "kernel";
constexpr std::size_t kDeepest = 64;

bool holds(const std::vector<std::string>& list, const std::string& text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

std::vector<const PluginView*> loaded_by(const KernelView& kernel, const std::string& owner) {
  std::vector<const PluginView*> found;
  for (const PluginView& plugin : kernel.plugins)
    if (holds(plugin.owners, owner)) found.push_back(&plugin);
  return found;
}

/// Who offers an interface; the kernel has its own.
std::string offered_by(const KernelView& kernel, const std::string& interface) {
  std::vector<std::string> names;
  for (const PluginView& plugin : kernel.plugins)
    if (holds(plugin.offers, interface)) names.push_back(plugin.name);
  return names.empty() ? kKernel : join(names, ", ");
}

std::string described(const KernelView& kernel, const PluginView& plugin) {
  std::string text = plugin.name + " " + plugin.version;
  if (plugin.core) text += " (core)";
  if (plugin.state != "running") text += " (" + plugin.state + ")";
  if (plugin.sharing != "everyone") text += ", for " + plugin.sharing;
  if (!plugin.offers.empty()) text += ", offers " + join(plugin.offers, " ");
  for (const std::string& need : plugin.needs) text += ", uses " + need + " of " + offered_by(kernel, need);
  return one_line(text);
}

/// The lines below a plug-in or the kernel; what stands on the way from the root is not walked again.
void add_lines(const KernelView& kernel, const std::string& owner, const std::string& before,
               std::vector<std::string>& way, std::string& text) {
  std::vector<std::pair<std::string, const PluginView*>> items;
  for (const PluginView* plugin : loaded_by(kernel, owner))
    items.emplace_back(described(kernel, *plugin), plugin);
  for (const soap::RunView& run : kernel.runs)
    if (run.plugin == owner && run.state != "ended")
      items.emplace_back(one_line("thread " + run.run + " (" + run.function + ", " + run.state + ")"),
                         nullptr);
  for (std::size_t i = 0; i < items.size(); ++i) {
    const bool last = i + 1 == items.size();
    const auto& [line, plugin] = items[i];
    text += before + (last ? "└─ " : "├─ ") + line;
    const bool again = plugin != nullptr && (holds(way, plugin->name) || way.size() >= kDeepest);
    text += again ? " …\n" : "\n";
    if (plugin == nullptr || again) continue;
    way.push_back(plugin->name);
    add_lines(kernel, plugin->name, before + (last ? "   " : "│  "), way, text);
    way.pop_back();
  }
}

Json below(const KernelView& kernel, const std::string& owner, std::vector<std::string>& way) {
  Json list = Json::array();
  for (const PluginView* plugin : loaded_by(kernel, owner)) {
    Json item{{"name", plugin->name},   {"version", plugin->version}, {"core", plugin->core},
              {"state", plugin->state}, {"sharing", plugin->sharing}, {"offers", plugin->offers},
              {"uses", Json::array()},  {"threads", Json::array()},   {"loaded", Json::array()}};
    for (const std::string& need : plugin->needs)
      item["uses"].push_back({{"interface", need}, {"of", offered_by(kernel, need)}});
    for (const soap::RunView& run : kernel.runs)
      if (run.plugin == plugin->name && run.state != "ended") item["threads"].push_back(run.run);
    if (!holds(way, plugin->name) && way.size() < kDeepest) {
      way.push_back(plugin->name);
      item["loaded"] = below(kernel, plugin->name, way);
      way.pop_back();
    }
    list.push_back(std::move(item));
  }
  return list;
}

/// Inside quotes.
std::string quoted(const std::string& text) {
  std::string safe;
  for (const char c : one_line(text)) {
    if (c == '"' || c == '\\') safe += '\\';
    safe += c;
  }
  return "\"" + safe + "\"";
}

}  // namespace

std::string tree_text(const KernelView& kernel) {
  std::string text = kernel.lab + "/" + kernel.node + " on " + kernel.host;
  if (!kernel.trouble.empty()) return one_line(text + ": " + kernel.trouble) + "\n";
  text = one_line(text) + "\n";
  std::vector<std::string> way;
  add_lines(kernel, kKernel, "", way, text);
  return text;
}

Json tree_json(const KernelView& kernel) {
  std::vector<std::string> way;
  return below(kernel, kKernel, way);
}

std::string tree_dot(const KernelView& kernel, std::size_t number) {
  const std::string prefix = "k" + std::to_string(number) + "/";
  const auto id = [&](const std::string& name) { return quoted(prefix + name); };
  std::string text = "  subgraph " + quoted("cluster_" + std::to_string(number)) +
                     " {\n    label=" + quoted(kernel.lab + "/" + kernel.node) + ";\n    " + id(kKernel) +
                     " [label=\"kernel\", shape=box];\n";
  for (const PluginView& plugin : kernel.plugins) {
    text += "    " + id(plugin.name) + " [label=" + quoted(plugin.name + " " + plugin.version) + "];\n";
    const std::set<std::string> owners(plugin.owners.begin(), plugin.owners.end());
    for (const std::string& owner : owners) text += "    " + id(owner) + " -> " + id(plugin.name) + ";\n";
    for (const std::string& need : plugin.needs)
      for (const PluginView& other : kernel.plugins)
        if (holds(other.offers, need))
          text += "    " + id(plugin.name) + " -> " + id(other.name) +
                  " [style=dashed, label=" + quoted(need) + "];\n";
  }
  return text + "  }\n";
}

}  // namespace mvm::cli
