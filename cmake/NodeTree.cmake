# The tree that every node sees as /opt/mvm (kernel, plug-ins, libmvm), made as <build>/stage/opt/mvm, and the
# target `lab`: everything that a lab daemon of this build needs, without the tests.
#
# Included last: it takes the programs, plug-ins and policy components that the folders declared.

# All targets of these types declared below a folder.
function(mvm_targets_below out folder)
  set(found "")
  set(folders ${folder})
  while(folders)
    list(POP_FRONT folders next)
    get_property(below DIRECTORY ${next} PROPERTY SUBDIRECTORIES)
    list(APPEND folders ${below})
    get_property(declared DIRECTORY ${next} PROPERTY BUILDSYSTEM_TARGETS)
    foreach(target IN LISTS declared)
      get_target_property(type ${target} TYPE)
      if(type IN_LIST ARGN)
        list(APPEND found ${target})
      endif()
    endforeach()
  endwhile()
  set(${out} ${found} PARENT_SCOPE)
endfunction()

set(lab_targets "")
set(node_targets mvm mvm_static harness)
foreach(folder programs componentvm policies)
  if(EXISTS ${CMAKE_SOURCE_DIR}/${folder}/CMakeLists.txt)
    mvm_targets_below(found ${CMAKE_SOURCE_DIR}/${folder} EXECUTABLE MODULE_LIBRARY)
    list(APPEND lab_targets ${found})
    foreach(target IN LISTS found)
      get_target_property(type ${target} TYPE)
      get_target_property(name ${target} OUTPUT_NAME)
      if(folder STREQUAL "componentvm" AND type STREQUAL "MODULE_LIBRARY")
        get_target_property(place ${target} MVM_INSTALL_FOLDER)
        if(NOT place)
          set(place lib/mvm/plugins)
        endif()
        install(TARGETS ${target} LIBRARY DESTINATION ${place} COMPONENT node)
        list(APPEND node_targets ${target})
      elseif(target STREQUAL "mvm-kernel" OR name STREQUAL "mvm-kernel")
        # RPATH, not RUNPATH: it also serves the libraries of libraries and of plug-ins.
        target_link_options(${target} PRIVATE LINKER:--disable-new-dtags)
        set_target_properties(${target} PROPERTIES INSTALL_RPATH "$ORIGIN/../lib/runtime")
        install(TARGETS ${target} RUNTIME DESTINATION bin COMPONENT node)
        install(FILES ${CMAKE_BINARY_DIR}/bin/mvm-kernel.debug DESTINATION bin COMPONENT node)
        list(APPEND node_targets ${target})
      endif()
    endforeach()
  endif()
endforeach()

# Their libraries, so that an image need not hold them: all but libc's own.
install(CODE [[
  set(tree "${CMAKE_INSTALL_PREFIX}")
  file(GLOB programs "${tree}/bin/*")
  file(GLOB plugins "${tree}/lib/mvm/plugins/*.so" "${tree}/lib/mvm/rmix/*.so")
  file(GET_RUNTIME_DEPENDENCIES EXECUTABLES ${programs} MODULES ${plugins}
    RESOLVED_DEPENDENCIES_VAR libraries UNRESOLVED_DEPENDENCIES_VAR missing
    POST_EXCLUDE_REGEXES "/lib/runtime/" "/ld-linux[^/]*$" "/lib(c|m|dl|rt|pthread|resolv)\\.so")
  if(missing)
    message(FATAL_ERROR "libraries of the node tree are not found: ${missing}")
  endif()
  file(INSTALL ${libraries} DESTINATION "${tree}/lib/runtime" FOLLOW_SYMLINK_CHAIN)
]] COMPONENT node)

set(tree ${CMAKE_BINARY_DIR}/stage/opt/mvm)
add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/stage/made
  COMMAND ${CMAKE_COMMAND} --install ${CMAKE_BINARY_DIR} --component libmvm --prefix ${tree} > ${CMAKE_BINARY_DIR}/stage/log
  COMMAND ${CMAKE_COMMAND} --install ${CMAKE_BINARY_DIR} --component node --prefix ${tree} >> ${CMAKE_BINARY_DIR}/stage/log
  COMMAND ${CMAKE_COMMAND} -E touch ${CMAKE_BINARY_DIR}/stage/made
  DEPENDS ${node_targets} ${CMAKE_SOURCE_DIR}/queuevm/libmvm/include/mvm.h ${CMAKE_SOURCE_DIR}/queuevm/libmvm/include/mvm.hpp
  COMMENT "The tree that nodes see as /opt/mvm" VERBATIM)
add_custom_target(node_tree ALL DEPENDS ${CMAKE_BINARY_DIR}/stage/made)
add_custom_target(lab DEPENDS node_tree ${lab_targets})
