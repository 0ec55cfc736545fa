# R's part of survival.py:  Rscript survival.R survfit|survdiff|cuminc <folder> <repeats>
# Reads the columns as raw whole numbers (faster than any file format R reads) and prints one line of JSON.
arguments <- commandArgs(trailingOnly = TRUE)
how <- arguments[1]; folder <- arguments[2]; repeats <- as.integer(arguments[3])
suppressPackageStartupMessages({library(survival); if (how == "cuminc") library(cmprsk)})

column <- function(name) {
  file <- file.path(folder, paste0(name, ".bin"))
  readBin(file, "integer", n = file.size(file) / 4, size = 4)
}
read <- system.time({
  days <- column("exit_day"); outcome <- column("outcome"); team <- column("team")
})[["elapsed"]]

at_90 <- function(times, values) values[findInterval(90, times)]
run <- list(
  survfit = function() {
    fit <- survfit(Surv(days, factor(outcome)) ~ team)
    first <- seq_len(fit$strata[1])
    at_90(fit$time[first], fit$pstate[first, 2])
  },
  survdiff = function() survdiff(Surv(days, outcome == 1) ~ team)$chisq,
  cuminc = function() {
    fit <- cuminc(days, outcome, team)
    fit$Tests[1, "stat"]
  }
)[[how]]

spent <- 0; compute <- c(); cpu <- c()
while (length(compute) < repeats && (spent < 20 || !length(compute))) {
  took <- system.time(value <- run())
  compute <- c(compute, took[["elapsed"]])
  cpu <- c(cpu, took[["user.self"]] + took[["sys.self"]])
  spent <- spent + tail(compute, 1)
}
status <- readLines("/proc/self/status")
peak <- as.numeric(gsub("[^0-9]", "", grep("VmHWM", status, value = TRUE))) / 1024
listed <- function(times) paste(sprintf("%.4f", times), collapse = ", ")
cat(sprintf('{"read": %.4f, "compute": [%s], "cpu": [%s], "value": %.10g, "peak": %.1f}\n',
            read, listed(compute), listed(cpu), value, peak))
