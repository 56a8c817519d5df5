/* A spiking network with time-to-first-spike coding, in C99 without dependencies.
 * ttfs_cupy @version wrote it from @source.
 *
 * Two files compute it, of which a program needs one: network_float32.c and network_int8.c.
 * README.txt says how large they are and what they need.
 */
#ifndef TTFS_NETWORK_H
#define TTFS_NETWORK_H

#include <stdint.h>

#define TTFS_HEIGHT @height
#define TTFS_WIDTH @width
#define TTFS_CHANNELS @channels
#define TTFS_PIXELS (TTFS_HEIGHT * TTFS_WIDTH * TTFS_CHANNELS) /* bytes of an image */
#define TTFS_MAXIMUM @maximum /* the pixel value that is white; larger ones count as white */
#define TTFS_CLASSES @classes

/* What the length of a window, @t_win, is in network_int8.c's potentials; in network_float32.c's it is itself. */
#define TTFS_INT8_ONE @one

/* Both return the class of an image, from 0, and write the potential of each class, of which its own is the largest.
//if fires
 * The readout spikes here: its potentials are earliness, up to the length of a window, and 0 is silence.
//end
 *
 * pixels: uint8, row by row, the channels of a pixel side by side.
 * potentials: an array of TTFS_CLASSES.
 *
 * Activations lie in a static array of each file: a file's function runs once at a time.
 */
int ttfs_predict_float32(const uint8_t *pixels, float *potentials);
int ttfs_predict_int8(const uint8_t *pixels, int32_t *potentials);

#endif
