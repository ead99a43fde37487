"""One thread for every test: results depend on the thread count, and two test processes share two cores."""

import torch as th

th.set_num_threads(1)
