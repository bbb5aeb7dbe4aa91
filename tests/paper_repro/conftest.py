"""What all tests of the claims share."""

from tests.experiments.conftest import one_thread as one_thread
