"""The page in the browser: a job is one video with its sentences, run by the loop that everything runs by."""
