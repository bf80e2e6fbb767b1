# Layers and the arrows allowed between them.
#
#   mvm_add_layer(<layer>            folder of the layer, e.g. osvm/libvirt; target mvm_osvm_libvirt
#     SOURCES <file>...              relative to the folder
#     [PUBLIC <layer>...]            layers named in this layer's public headers
#     [PRIVATE <layer>...]           layers used in its sources only
#     [PUBLIC_LIBS <target>...]      header libraries that appear in public headers
#     [PRIVATE_LIBS <target>...]     third-party libraries; C libraries are always private
#     [SHARED_OBJECTS])              compile position independent for use in a shared library
#
# A layer exports only its own include/. An arrow that is not in the list below
# stops configuration: the build is the guard of the architecture.

set(MVM_LAYERS "" CACHE INTERNAL "declared layers")

set(MVM_ARROWS_base "")
set(MVM_ARROWS_topologies base)
set(MVM_ARROWS_osvm base)
set(MVM_ARROWS_osvm/libvirt osvm base)
set(MVM_ARROWS_osvm/process osvm base)
set(MVM_ARROWS_queuevm base)
set(MVM_ARROWS_queuevm/tls queuevm base)
set(MVM_ARROWS_queuevm/mq queuevm base)
set(MVM_ARROWS_queuevm/codecs queuevm base)
set(MVM_ARROWS_componentvm/channel base)
set(MVM_ARROWS_componentvm/kernel componentvm/channel base)
set(MVM_ARROWS_componentvm/build base)
set(MVM_ARROWS_componentvm/soap base)
set(MVM_ARROWS_componentvm/replica base)
set(MVM_ARROWS_componentvm/registry base)
set(MVM_ARROWS_componentvm/registry/sqlite componentvm/registry base)
set(MVM_ARROWS_componentvm/registry/etcd componentvm/registry base)
set(MVM_ARROWS_componentvm/catalog componentvm/registry base)
set(MVM_ARROWS_componentvm/plugins/job componentvm/kernel componentvm/build base)
set(MVM_ARROWS_componentvm/plugins/builder componentvm/kernel componentvm/build base)
set(MVM_ARROWS_componentvm/plugins/queue componentvm/kernel queuevm queuevm/codecs queuevm/tls base)
set(MVM_ARROWS_componentvm/plugins/node componentvm/kernel componentvm/soap base)
set(MVM_ARROWS_policies/api base)
foreach(component placement-pack placement-spread order-fifo order-fair links-codecs)
  set(MVM_ARROWS_policies/${component} policies/api base)
endforeach()
set(MVM_ARROWS_host/api base)
set(MVM_ARROWS_host host/api osvm queuevm queuevm/tls queuevm/mq queuevm/codecs componentvm/channel componentvm/build componentvm/soap topologies base)
set(MVM_ARROWS_broker host/api policies/api componentvm/soap componentvm/build queuevm topologies base)
set(MVM_ARROWS_cli componentvm/soap topologies base)

function(mvm_layer_target out layer)
  string(REPLACE "/" "_" name "mvm_${layer}")
  string(REPLACE "-" "_" name "${name}")
  set(${out} ${name} PARENT_SCOPE)
endfunction()

function(mvm_add_layer layer)
  cmake_parse_arguments(PARSE_ARGV 1 L "SHARED_OBJECTS" "" "SOURCES;PUBLIC;PRIVATE;PUBLIC_LIBS;PRIVATE_LIBS")
  if(L_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "mvm_add_layer(${layer}): unknown arguments: ${L_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT DEFINED MVM_ARROWS_${layer})
    message(FATAL_ERROR "mvm_add_layer(${layer}): this layer is not on the map in cmake/MvmLayer.cmake")
  endif()
  foreach(used IN LISTS L_PUBLIC L_PRIVATE)
    if(NOT used IN_LIST MVM_ARROWS_${layer})
      message(FATAL_ERROR "layer ${layer} may not use ${used}; allowed: ${MVM_ARROWS_${layer}}")
    endif()
  endforeach()

  mvm_layer_target(target ${layer})
  list(TRANSFORM L_SOURCES PREPEND "${CMAKE_SOURCE_DIR}/${layer}/")
  if(L_SOURCES)
    add_library(${target} STATIC ${L_SOURCES})
    set(scope PUBLIC)
    target_link_libraries(${target} PRIVATE mvm_warnings)
    # Everything may end in a plug-in, which is a shared object.
    set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  else()
    add_library(${target} INTERFACE)
    set(scope INTERFACE)
  endif()
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/${layer}/include/*.h")
  if(headers)
    target_sources(${target} ${scope} FILE_SET HEADERS
      BASE_DIRS "${CMAKE_SOURCE_DIR}/${layer}/include" FILES ${headers})
    set_target_properties(${target} PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON)
  endif()
  foreach(used IN LISTS L_PUBLIC)
    mvm_layer_target(dep ${used})
    target_link_libraries(${target} ${scope} ${dep})
  endforeach()
  foreach(used IN LISTS L_PRIVATE)
    mvm_layer_target(dep ${used})
    target_link_libraries(${target} PRIVATE ${dep})
  endforeach()
  target_link_libraries(${target} ${scope} ${L_PUBLIC_LIBS})
  if(L_PRIVATE_LIBS)
    target_link_libraries(${target} PRIVATE ${L_PRIVATE_LIBS})
  endif()
  set(MVM_LAYERS "${MVM_LAYERS};${layer}" CACHE INTERNAL "declared layers")
endfunction()
