// When neurons fired: a histogram of spike times. Called by device/reductions.py.

#define SPIKE_TIME_BINS 32

// Adds to counts (parts, SPIKE_TIME_BINS) how many neurons of earliness (n) fired in each of SPIKE_TIME_BINS equal
// shares of [0, window]; per_time is their number by the window. A part has its own row, so that none waits for another.
// Parts take turns, at every turn so many neighbouring values each: 1 where neighbouring threads are to read neighbouring
// addresses, as on a GPU; all of a part's where a thread is to read one address after the other.
KERNEL void count_spike_times(const float* __restrict__ earliness, long long* __restrict__ counts, float window,
                              float per_time, int turn, int parts, int n) {
    GRID_LOOP(part, parts) {
        int found[SPIKE_TIME_BINS] = {0};
        for (long long first = (long long)part * turn; first < n; first += (long long)parts * turn) {
            const long long end = first + turn < n ? first + turn : n;
            for (long long i = first; i < end; ++i) {
                if (earliness[i] == 0.0f) continue;
                const float place = (window - earliness[i]) * per_time;
                // what is no time of the window counts at its nearer end
                ++found[place >= SPIKE_TIME_BINS - 1 ? SPIKE_TIME_BINS - 1 : place > 0.0f ? (int)place : 0];
            }
        }
        for (int bin = 0; bin < SPIKE_TIME_BINS; ++bin) counts[(long long)part * SPIKE_TIME_BINS + bin] += found[bin];
    }
}
