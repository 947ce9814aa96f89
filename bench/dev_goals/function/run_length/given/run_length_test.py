import unittest

from run_length import decode, encode


class RunLengthTest(unittest.TestCase):
    def test_encode_empty(self):
        self.assertEqual(encode(""), "")

    def test_encode_single_characters(self):
        self.assertEqual(encode("XYZ"), "XYZ")

    def test_encode_runs(self):
        self.assertEqual(encode("AABBBCCCC"), "2A3B4C")

    def test_encode_long_run(self):
        self.assertEqual(encode("W" * 12 + "B" + "W" * 24), "12WB24W")

    def test_decode_runs(self):
        self.assertEqual(decode("2A3B4C"), "AABBBCCCC")

    def test_decode_long_run(self):
        self.assertEqual(decode("12WB"), "W" * 12 + "B")

    def test_there_and_back(self):
        self.assertEqual(decode(encode("zzz ZZ  zZ")), "zzz ZZ  zZ")


if __name__ == "__main__":
    unittest.main()
