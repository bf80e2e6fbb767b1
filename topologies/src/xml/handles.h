#pragma once
// Owners of libxml2's objects.

#include <libxml/parser.h>
#include <libxml/xmlregexp.h>
#include <libxml/xmlschemas.h>

#include <memory>

namespace mvm::topologies::xml {

template <auto Release>
struct Releaser {
  template <class T>
  void operator()(T* object) const {
    Release(object);
  }
};

using ParserContext = std::unique_ptr<xmlParserCtxt, Releaser<xmlFreeParserCtxt>>;
using SchemaParserContext = std::unique_ptr<xmlSchemaParserCtxt, Releaser<xmlSchemaFreeParserCtxt>>;
using Schema = std::unique_ptr<xmlSchema, Releaser<xmlSchemaFree>>;
using SchemaContext = std::unique_ptr<xmlSchemaValidCtxt, Releaser<xmlSchemaFreeValidCtxt>>;
using Regexp = std::unique_ptr<xmlRegexp, Releaser<xmlRegFreeRegexp>>;

}  // namespace mvm::topologies::xml
