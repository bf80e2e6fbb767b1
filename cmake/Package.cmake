# What a host and its users install, once the target `lab` is built: `cmake --install BUILD --component host --prefix /usr`,
# or the Debian package that cpack makes of it (needs dpkg-dev). Any prefix will do: programs find their components from
# where they lie.
#
# Included after NodeTree, whose tree it takes.

install(TARGETS mvm-cli mvmd RUNTIME DESTINATION bin COMPONENT host)
get_property(policy_modules GLOBAL PROPERTY MVM_POLICY_MODULES)
install(TARGETS ${policy_modules} LIBRARY DESTINATION lib/mvm/policies COMPONENT host)
install(DIRECTORY ${tree}/ DESTINATION lib/mvm/node USE_SOURCE_PERMISSIONS COMPONENT host)
install(PROGRAMS packaging/make-qemu-image packaging/make-tree-image packaging/libvirtd-private packaging/packages.sh
  packaging/machine.sh packaging/qemu-init DESTINATION lib/mvm/packaging COMPONENT host)
install(FILES packaging/systemd/mvmd.service packaging/systemd/mvmd.socket DESTINATION lib/systemd/system COMPONENT host)
install(FILES packaging/completions/mvm.bash RENAME mvm DESTINATION share/bash-completion/completions COMPONENT host)
install(FILES packaging/completions/_mvm DESTINATION share/zsh/vendor-completions COMPONENT host)
install(FILES packaging/completions/mvm.fish DESTINATION share/fish/vendor_completions.d COMPONENT host)
install(DIRECTORY topologies/schemas DESTINATION share/mvm COMPONENT host FILES_MATCHING PATTERN "*.xsd")
install(FILES README.md CHANGELOG.md LICENSE LICENSE.Apache-2.0 DESTINATION share/doc/mvm COMPONENT host)
install(DIRECTORY examples docs DESTINATION share/doc/mvm COMPONENT host)

execute_process(COMMAND ${CMAKE_SOURCE_DIR}/packaging/packages.sh list run OUTPUT_VARIABLE packages
  OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
string(REPLACE "\n" ", " packages "${packages}")

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME mvm)
set(CPACK_PACKAGE_VENDOR "MVM")
set(CPACK_PACKAGE_CONTACT "The MVM developers <mvm@localhost>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_INSTALL_CMAKE_PROJECTS "${CMAKE_BINARY_DIR};mvm;host;/" "${CMAKE_BINARY_DIR};mvm;libmvm;/"
  "${CMAKE_BINARY_DIR};mvm;plugin;/")
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGE_FILE_NAME mvm)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${tree}/lib/runtime)
file(WRITE ${CMAKE_BINARY_DIR}/package/triggers "activate-noawait ldconfig\n")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_BINARY_DIR}/package/triggers)
set(CPACK_DEBIAN_PACKAGE_DEPENDS ${packages})
set(CPACK_DEBIAN_COMPRESSION_TYPE zstd)
include(CPack)
