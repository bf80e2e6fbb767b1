# mvm_add_rmix_stubs(<target> <definition.xml> [NAMESPACE <a::b>])
#
# A static library of the stubs that mvm-rmixgen makes of a service definition; include "<definition>.rmix.h". The
# rpcgen file, where the definition has a program number, lies beside it: <binary folder>/<target>/<definition>.x. Works in
# this tree and, by find_package(mvm-rmix), outside of it.
function(mvm_add_rmix_stubs target definition)
  cmake_parse_arguments(PARSE_ARGV 2 S "" "NAMESPACE" "")
  if(NOT S_NAMESPACE)
    set(S_NAMESPACE service)
  endif()
  if(COMMAND mvm_add_layer)  # this tree
    set(generator mvm-rmixgen)
    set(library mvm_componentvm_rmix)
  else()
    set(generator mvm::rmixgen)
    set(library mvm::rmix)
  endif()
  get_filename_component(definition ${definition} ABSOLUTE)
  get_filename_component(stem ${definition} NAME_WE)
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/${target})
  file(MAKE_DIRECTORY ${folder})
  add_custom_command(OUTPUT ${folder}/${stem}.rmix.h ${folder}/${stem}.rmix.cpp
    BYPRODUCTS ${folder}/${stem}.x
    COMMAND ${generator} ${definition} --output ${folder} --namespace ${S_NAMESPACE}
    DEPENDS ${definition} ${generator} COMMENT "Stubs of ${stem}" VERBATIM)
  add_library(${target} STATIC ${folder}/${stem}.rmix.cpp ${folder}/${stem}.rmix.h)
  target_include_directories(${target} SYSTEM PUBLIC ${folder})
  target_link_libraries(${target} PUBLIC ${library})
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_CLANG_TIDY "")
endfunction()
