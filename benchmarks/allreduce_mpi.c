/* MPI_Allreduce under the rules of `trireme bench allreduce`: every rank rewrites its whole buffer before an operation
 * and reads the whole result after it, both untimed; cold: each operation takes another buffer of a pool; an operation
 * takes as long as on its slowest rank; a row is the median.
 *
 *     mpirun -np RANKS allreduce_mpi POOL_BYTES SECONDS BYTES...
 *
 * One line of JSON a size: {"bytes": ..., "time_us": ..., "hot_time_us": ...} */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

enum { WARM_UP = 4, TOGETHER = 8, MOST = 4000 };

static int compare(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median_us(float *pool, long pool_floats, long floats, int cold, double seconds) {
  int rank, ranks;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  const long buffers = pool_floats / floats;
  const float expected = (float)(ranks * (ranks + 1)) / 2;
  double *times = malloc((MOST + TOGETHER) * sizeof *times);
  long count = 0;
  double spent = 0;
  for (long i = 0;; ++i) {
    float *x = pool + (cold ? i % buffers * floats : 0);
    for (long j = 0; j < floats; ++j) x[j] = (float)(rank + 1);
    MPI_Barrier(MPI_COMM_WORLD);
    const double begin = MPI_Wtime();
    MPI_Allreduce(MPI_IN_PLACE, x, (int)floats, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    const double us = 1e6 * (MPI_Wtime() - begin);
    long wrong = 0;
    for (long j = 0; j < floats; ++j) wrong += x[j] != expected;
    if (wrong) MPI_Abort(MPI_COMM_WORLD, 1);
    if (i >= WARM_UP) {
      times[count++] = us;
      spent += us * 1e-6;
    }
    if (i % TOGETHER == TOGETHER - 1) {
      double most = spent;
      MPI_Allreduce(MPI_IN_PLACE, &most, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
      if (most >= seconds || count >= MOST) break;
    }
  }
  MPI_Allreduce(MPI_IN_PLACE, times, (int)count, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  qsort(times, (size_t)count, sizeof *times, compare);
  const double median = times[count / 2];
  free(times);
  return median;
}

int main(int argc, char **argv) {
  MPI_Init(&argc, &argv);
  if (argc < 4) {
    fprintf(stderr, "usage: allreduce_mpi POOL_BYTES SECONDS BYTES...\n");
    MPI_Abort(MPI_COMM_WORLD, 2);
  }
  int rank;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  const long pool_floats = atol(argv[1]) / (long)sizeof(float);
  const double seconds = atof(argv[2]);
  float *pool = malloc((size_t)pool_floats * sizeof *pool);
  for (long j = 0; j < pool_floats; ++j) pool[j] = 1;
  for (int a = 3; a < argc; ++a) {
    const long bytes = atol(argv[a]);
    const double cold = median_us(pool, pool_floats, bytes / (long)sizeof(float), 1, seconds);
    const double hot = median_us(pool, pool_floats, bytes / (long)sizeof(float), 0, seconds);
    if (rank == 0) {
      printf("{\"bytes\": %ld, \"time_us\": %.3f, \"hot_time_us\": %.3f}\n", bytes, cold, hot);
      fflush(stdout);
    }
  }
  free(pool);
  MPI_Finalize();
  return 0;
}
