/* Classifies raw images that it reads: predict float32|int8 < images
 *
 * An image is TTFS_PIXELS bytes, as network.h says, and one follows the other. For each image it prints a line: its
 * class, and the potential of each class.
 */
#include <stdio.h>
#include <string.h>

#include "network.h"

static void print_float32(const uint8_t *pixels)
{
    float potentials[TTFS_CLASSES];

    printf("%d", ttfs_predict_float32(pixels, potentials));
    for (int i = 0; i < TTFS_CLASSES; i++)
        printf(" %.9g", (double)potentials[i]);
    printf("\n");
}

static void print_int8(const uint8_t *pixels)
{
    int32_t potentials[TTFS_CLASSES];

    printf("%d", ttfs_predict_int8(pixels, potentials));
    for (int i = 0; i < TTFS_CLASSES; i++)
        printf(" %ld", (long)potentials[i]);
    printf("\n");
}

int main(int argc, char **argv)
{
    static uint8_t pixels[TTFS_PIXELS];
    const int is_int8 = argc == 2 && strcmp(argv[1], "int8") == 0;
    size_t count;

    if (!is_int8 && (argc != 2 || strcmp(argv[1], "float32") != 0)) {
        fprintf(stderr, "usage: %s float32|int8 < images\n", argc > 0 ? argv[0] : "predict");
        return 2;
    }
    while ((count = fread(pixels, 1, TTFS_PIXELS, stdin)) == TTFS_PIXELS) {
        if (is_int8)
            print_int8(pixels);
        else
            print_float32(pixels);
    }
    if (count != 0) {
        fprintf(stderr, "the last image is not whole: images have %ld bytes\n", (long)TTFS_PIXELS);
        return 1;
    }
    return 0;
}
