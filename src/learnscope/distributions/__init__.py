"""What is learned: labelled data that is drawn from explicit generators."""
