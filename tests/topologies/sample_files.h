#pragma once
// Valid files for tests that mutate or measure them.

#include <string>
#include <string_view>
#include <vector>

#include "mvm/topologies/shipped.h"

namespace mvm::topologies::samples {

inline constexpr std::string_view kJob = R"(<?xml version="1.0" encoding="UTF-8"?>
<job xmlns="urn:mvm:job:1" name="heat" about="a stencil">
  <topology ref="ring"><set param="n" value="${2*half}"/></topology>
  <param name="half" type="integer" default="4" min="1" max="100"/>
  <param name="rate" type="number" default="2.5"/>
  <param name="quiet" type="boolean" default="true"/>
  <param name="title" type="string" default="my job"/>
  <program role="cell">
    <source path="src/"/>
    <source name="extra.h"><![CDATA[#define A "<&>"]]></source>
    <source digest="0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" name="x.c" file="true"/>
    <build command="g++ -DN=$MVM_PARAM_N heat.cpp -o heat &amp;&amp; true" on="self" params="title rate" time="90s" memory="1GiB"/>
    <run>./heat --half ${half} '--title=${title}' $$HOME</run>
    <env name="OMP_NUM_THREADS" value="${half}"/>
    <limit cpu-time="1h" memory="64MiB" file-size="1GB" open-files="100" processes="50"/>
  </program>
  <machines role="cell" driver="lxc" image="host" count="${half}" vcpus="2" memory="512MiB" plugins="trace"/>
  <machines name="slow" role="cell" driver="qemu" image="qemu-debian" architecture="x86_64" host="alpha" disk="2GiB"
            processes="100" cpu-share="50"/>
  <stage in="data/in.csv" to="cell[0]"/>
  <stage in="all.cfg" to="cell[*]" as="conf/x.cfg"/>
  <stage out="result.csv" from="cell[0..1]" optional="true"/>
  <limit walltime="10m" retries="5"/>
  <policy ref="spread"/>
</job>
)";

inline constexpr std::string_view kLab = R"(<lab xmlns="urn:mvm:lab:1" xmlns:j="urn:mvm:job:1" name="demo">
  <!-- everything in line -->
  <topology xmlns="urn:mvm:topology:1" name="own"><param name="k" type="integer" default="2"/>
    <role name="a"><port name="out" direction="out"/><port name="all" direction="out" count="${k}"/></role>
    <role name="b" count="${k}"><port name="in" direction="in"/><port name="next" direction="out" optional="true"/></role>
    <link from="a.out" to="b[*].in" deliver="by-key" codec="neutral zstd:3" transport="tcp">
      <queue type="priority" capacity="${2*k}" bytes="${k}KiB" when-full="drop-oldest" timeout="5s" ttl="250ms"/></link>
    <link name="chain" for="i in 0..k-2" from="b[i].next" to="b[i+1].in"/>
    <link name="fan" for="i in 0..k-1" from="a.all[i]" to="b[i].in"/></topology>
  <image xmlns="urn:mvm:image:1" name="mine" kind="tree" root="/srv/mine" architecture="aarch64" drivers="lxc">
    <toolchain compiler="g++" version="12.2.0"/></image>
  <set param="k" value="3"/>
  <param name="steps" type="integer" default="${k*2}"/>
  <machines role="a" driver="process"/>
  <machines name="rest" driver="lxc" image="mine" count="2"/>
  <j:job name="inner">
    <j:program role="a"><j:run>true</j:run></j:program>
    <j:program role="b"><j:run>cat ${steps}</j:run></j:program>
    <j:policy ref="fair"/></j:job>
  <policy xmlns="urn:mvm:policy:1" name="mine" level="domain" kind="placement" component="placement-pack">
    <option name="half-life" value="1h"/></policy>
</lab>
)";

/// All shipped files, and a job and a lab that use every element and attribute.
inline std::vector<std::string> all() {
  std::vector<std::string> files = {std::string(kJob), std::string(kLab), std::string(kJob),
                                    std::string(kLab)};
  for (const DocumentKind kind : {DocumentKind::kTopology, DocumentKind::kImage, DocumentKind::kPolicy}) {
    for (const std::string& name : shipped_names(kind)) files.emplace_back(shipped_text(kind, name));
  }
  return files;
}

}  // namespace mvm::topologies::samples
