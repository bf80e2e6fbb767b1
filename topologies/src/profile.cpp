#include "mvm/topologies/profile.h"

namespace mvm::topologies {

std::string_view to_string(DocumentKind kind) {
  switch (kind) {
    case DocumentKind::kLab:
      return "lab";
    case DocumentKind::kJob:
      return "job";
    case DocumentKind::kTopology:
      return "topology";
    case DocumentKind::kImage:
      return "image";
    case DocumentKind::kPolicy:
      return "policy";
  }
  return "";
}

std::string_view to_string(ImageKind kind) {
  switch (kind) {
    case ImageKind::kHost:
      return "host";
    case ImageKind::kTree:
      return "tree";
    case ImageKind::kDisk:
      return "disk";
  }
  return "";
}

std::string_view to_string(PolicyLevel level) {
  switch (level) {
    case PolicyLevel::kInterDomain:
      return "inter-domain";
    case PolicyLevel::kDomain:
      return "domain";
    case PolicyLevel::kNode:
      return "node";
  }
  return "";
}

const Image* Profile::find_image(std::string_view image) const {
  for (const Image& one : images) {
    if (one.name == image) return &one;
  }
  return nullptr;
}

const Param* Profile::find_param(std::string_view param) const {
  for (const Param& one : params) {
    if (one.name == param) return &one;
  }
  return nullptr;
}

}  // namespace mvm::topologies
