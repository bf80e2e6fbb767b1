# What a plug-in needs that is built outside of this tree: headers, a small static library, a CMake package and a
# pkg-config file. Installed as component `plugin`, into the Debian package, too.

set(base_headers assert blob_store digest error json log plugin_loader result unique_fd)
list(TRANSFORM base_headers PREPEND ${CMAKE_SOURCE_DIR}/base/include/mvm/base/)
list(TRANSFORM base_headers APPEND .h)

# Of base, what the headers call; it needs libc and libstdc++ only.
add_library(mvm_plugin STATIC ${CMAKE_SOURCE_DIR}/base/src/assert.cpp ${CMAKE_SOURCE_DIR}/base/src/error.cpp
  ${CMAKE_SOURCE_DIR}/base/src/json.cpp ${CMAKE_SOURCE_DIR}/base/src/unique_fd.cpp)
target_include_directories(mvm_plugin PUBLIC
  $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/base/include> $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/componentvm/kernel/include>
  $<INSTALL_INTERFACE:include>)
target_link_libraries(mvm_plugin PUBLIC nlohmann_json::nlohmann_json PRIVATE $<BUILD_INTERFACE:mvm_warnings>)
set_target_properties(mvm_plugin PROPERTIES POSITION_INDEPENDENT_CODE ON EXPORT_NAME plugin
  ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)

install(TARGETS mvm_plugin EXPORT mvm-plugin-targets ARCHIVE DESTINATION lib COMPONENT plugin)
install(EXPORT mvm-plugin-targets NAMESPACE mvm:: DESTINATION lib/cmake/mvm-plugin COMPONENT plugin)
install(FILES ${CMAKE_SOURCE_DIR}/componentvm/kernel/package/mvm-plugin-config.cmake DESTINATION lib/cmake/mvm-plugin
  COMPONENT plugin)
configure_file(${CMAKE_SOURCE_DIR}/componentvm/kernel/package/mvm-plugin.pc.in ${CMAKE_BINARY_DIR}/package/mvm-plugin.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/package/mvm-plugin.pc DESTINATION lib/pkgconfig COMPONENT plugin)
install(FILES ${base_headers} DESTINATION include/mvm/base COMPONENT plugin)
install(FILES ${CMAKE_SOURCE_DIR}/componentvm/kernel/include/mvm/kernel/plugin.h
  ${CMAKE_SOURCE_DIR}/componentvm/kernel/include/mvm/kernel/process.h DESTINATION include/mvm/kernel COMPONENT plugin)
add_dependencies(lab mvm_plugin)
