"""What the command says and does about instances that run or have failed: one module for each word behind ``arun``."""
