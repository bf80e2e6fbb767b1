"""One lab across two hosts: parts of it are killed on either, and the job is done all the same.

What the daemons' own deaths and a cut cable do to such a lab is in two_hosts_test.py.
"""
import sys
import time
import unittest

import two_hosts_test
from kill_matrix_test import Lab, kill
from world import alive, wait_until

ROUNDS = 500


class KillAcross(two_hosts_test.TwoHosts):
    test_a_lab_across_both = None  # runs there

    def lose_second(self):
        """The second host loses its power and comes back."""
        lab = Lab(self.second)
        self.second.kill()
        killed = kill(*lab.libvirtd(), *lab.processes(), *lab.children_of_labs())
        wait_until(lambda: not any(alive(pid) for pid in killed), 10, "what was killed lives")
        self.second.libvirtd_private("restart")
        self.start_second()

    def lose_unseen(self):
        """A node and the lab's child of the second host go while its daemon is dead."""
        lab = Lab(self.second)
        self.second.kill()
        kill(*lab.containers(), *lab.children_of_labs())
        self.start_second()

    def test_every_part(self):
        first, second = self.first, self.second
        first.start()
        self.start_second(self.invite())
        self.expect_up()
        profile = first.folder / "across.xml"
        profile.write_text(two_hosts_test.RING)
        for name, strike in (("the first host's child", lambda: Lab(first).kill_child()),
                             ("the second host's child", lambda: Lab(second).kill_child()),
                             ("a node", lambda: Lab(second).kill_container()),
                             ("a node and the child, unseen", self.lose_unseen),
                             ("the second host", self.lose_second)):
            with self.subTest(victim=name):
                job = first.mvm("submit", profile, "--set", f"rounds={ROUNDS}", "--detach", "--parsable").stdout.strip()
                wait_until(lambda: self.messages() > 0, 20, "the job does not run")
                strike()
                began = time.monotonic()
                wait_until(lambda: first.json("job", "status", job)["state"] in ("DONE", "FAILED"), 60, "it does not end")
                status = first.json("job", "status", job)
                self.assertEqual((status["state"], status["attempt"]), ("DONE", 2), first.mvm("job", "why", job).stdout)
                self.assertIn(f"counted to {ROUNDS}", first.mvm("job", "logs", job).stdout)
                first.expect_nothing_left()
                second.expect_nothing_left()
                print(f"{name}: done after {time.monotonic() - began:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    unittest.main()
